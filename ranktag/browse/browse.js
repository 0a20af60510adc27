/* The page of an archive: a grid of photos, searched by their ranked tags.
 *
 * Everything it knows comes from data/*.js (see ranktag/browse/parts.py), loaded as it is needed. What is
 * shown is in the address behind #: q (the query), by (presence, if not importance), photo and n (its id
 * and number), tags (the page of all tags), failed (photos without a picture). Texts of the
 * archive only ever become text.
 */
"use strict";
(() => {
  const BLOCKS_KEPT = 250;
  // Browsers have no element higher than about 17 million pixels.
  const HIGHEST = 16e6;
  const ALIKE = 12, CHOICES = 8, ROWS = 200, ROOM = 3;
  const find = id => document.getElementById(id);
  const view = find("view"), status = find("status"), box = find("query"), choices = find("choices"),
    main = find("main");

  // ---- The archive -----------------------------------------------------------------------------------

  const parts = new Map();
  // Of all data, from the first part that came: a browser may keep old ones of a page that has changed.
  let version = "";
  window.ranktagPart = (name, data, made) => {
    version ||= made;
    parts.get(name)?.take(made === version ? data : null);
  };

  /** The data of data/NAME.js. */
  function part(name) {
    let one = parts.get(name);
    if (one) return one.promise;
    one = {};
    parts.set(name, one);
    one.promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      const fail = why => {
        parts.delete(name);
        script.remove();
        reject(new Error(`data/${name}.js is ${why}`));
      };
      one.take = data => (
        data === null ? fail("of another version: the page was made anew, load it again") : resolve(data),
        (one.came = true)
      );
      const missing = () => fail("missing or damaged: make the page again, or copy the whole folder");
      script.onerror = missing;
      script.onload = () => (one.came ? script.remove() : missing());
      script.src = `data/${name}.js?${version || Date.now()}`;
      document.head.append(script);
    });
    return one.promise;
  }

  let archive, tags;
  const tagNumber = new Map();

  async function open() {
    archive = await part("archive");
    tags = await part("tags");
    archive.folds = new Map(Object.entries(archive.folds));
    archive.failedSet = new Set(archive.failed);
    tags = tags.map(([name, key, count, meanRank], number) => ({ name, key: key || name, count, meanRank, number }));
    for (const tag of tags) tagNumber.set(tag.key, tag.number);
  }

  const blocks = [];
  /** What is known of a photo: {id, image, failed, lists, people}. */
  async function photo(number) {
    const name = `photos-${Math.floor(number / archive.block)}`;
    if (!parts.has(name)) {
      blocks.push(name);
      if (blocks.length > BLOCKS_KEPT) parts.delete(blocks.shift());
    }
    const [id, image, failed, lists, people] = (await part(name))[number % archive.block];
    return { number, id, image, failed, lists: lists.map(list => list && pairs(list)), people };
  }

  function pairs(cells) {
    const list = [];
    for (let i = 0; i < cells.length; i += 2) list.push({ tag: cells[i], probability: cells[i + 1] });
    return list;
  }

  /** The numbers in a text of base64. */
  function array(text, Type) {
    const bytes = atob(text), numbers = new Uint8Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) numbers[i] = bytes.charCodeAt(i);
    return new Type(numbers.buffer);
  }

  /** The photos that list a tag: {photos, ranks, probabilities}, by number. */
  async function listed(number) {
    let k = archive.cuts.length - 1;
    while (archive.cuts[k] > number) k--;
    const run = await part(`listed-${k}`);
    run.arrays ??= [
      array(run.photos, Int32Array), array(run.ranks, Int32Array), array(run.probabilities, Float32Array)
    ];
    const place = number - archive.cuts[k];
    const [photos, ranks, probabilities] = run.arrays.map(
      all => all.subarray(run.starts[place], run.starts[place + 1]));
    return { photos, ranks, probabilities };
  }

  // ---- Search: the same as ranktag/search ------------------------------------------------------------

  const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
  const TERM = /(-?)(?:"((?:[^"]|"")*)(?:"|$)|([^ \t\r\n\u00a0\u3000]+))/g;

  /** What all spellings of a tag have in common (ranktag/tags/spelling.py). */
  function fold(tag) {
    const small = [...tag.normalize("NFKC")].map(c => archive.folds.get(c) ?? c.toLowerCase()).join("");
    return small.normalize("NFKC").split(SPACE).filter(Boolean).join(" ");
  }

  /** What a query asks for (ranktag/search/query.py). */
  function parse(text) {
    const wanted = new Set(), unwanted = new Set();
    for (const [, minus, quoted, word] of text.matchAll(TERM)) {
      const tag = fold(word || quoted.replaceAll('""', '"'));
      if (tag) (minus ? unwanted : wanted).add(tag);
    }
    return { wanted: [...wanted], unwanted: [...unwanted] };
  }

  /** A tag as it is written in a query. */
  const written = tag => (/^[^-"\s\u3000][^\s\u3000]*$/u.test(tag) ? tag : `"${tag.replaceAll('"', '""')}"`);

  /** What the i-th photo of a tag adds to its relevance (ranktag/search/relevance.py). */
  const tagRelevance = (list, i, by) =>
    by === "presence" ? list.probabilities[i] : list.probabilities[i] * archive.gains[list.ranks[i] - 1];

  /** The photos that a query finds, the most relevant first: {photos (null: all), relevance, unknown}. */
  async function search(text, by) {
    const { wanted, unwanted } = parse(text);
    const unknown = wanted.filter(tag => !tagNumber.has(tag));
    if (unknown.length) return { photos: new Int32Array(0), relevance: [], wanted, unwanted, unknown };
    const left = unwanted.filter(tag => tagNumber.has(tag));
    const [lists, out] = await Promise.all(
      [wanted, left].map(some => Promise.all(some.map(tag => listed(tagNumber.get(tag)))))
    );
    if (!lists.length && !out.length) return { photos: null, relevance: [], wanted, unwanted, unknown };
    const relevance = new Float64Array(archive.photos), held = new Int32Array(archive.photos);
    for (const list of lists)
      for (let i = 0; i < list.photos.length; i++) {
        relevance[list.photos[i]] += tagRelevance(list, i, by);
        held[list.photos[i]]++;
      }
    for (const list of out) for (const number of list.photos) held[number] = -1;
    const photos = new Int32Array(archive.photos);
    let count = 0;
    for (let number = 0; number < archive.photos; number++) if (held[number] === lists.length) photos[count++] = number;
    const found = photos.slice(0, count);
    if (lists.length) found.sort((a, b) => relevance[b] - relevance[a] || a - b);
    return { photos: found, relevance, wanted, unwanted, unknown };
  }

  let last = { key: null };
  /** The photos of an address, found once. */
  function found({ q, by, failed }) {
    const key = JSON.stringify([q, by, failed]);
    if (last.key !== key) {
      const promise = failed
        ? Promise.resolve({
          photos: Int32Array.from(archive.failed), relevance: [], wanted: [], unwanted: [], unknown: []
        })
        : search(q, by);
      last = { key, promise };
    }
    return last.promise;
  }

  /** The photos most alike: by the cosine between their vectors of p / log2(1 + rank) over the tags. */
  async function alike(one) {
    const weights = new Map();
    (one.lists[0] || []).forEach(({ tag, probability }, place) => {
      const number = tagNumber.get(fold(tag));
      if (!weights.has(number)) weights.set(number, (probability ?? 1) * archive.gains[place]);
    });
    const lists = await Promise.all([...weights.keys()].map(listed));
    const lengths = (archive.lengths ??= array(await part("lengths"), Float32Array));
    const likeness = new Float64Array(archive.photos);
    [...weights.values()].forEach((weight, t) => {
      const list = lists[t];
      for (let i = 0; i < list.photos.length; i++)
        likeness[list.photos[i]] += weight * tagRelevance(list, i, "importance");
    });
    likeness[one.number] = 0;
    const best = [];
    for (let number = 0; number < archive.photos; number++) {
      if (!likeness[number]) continue;
      likeness[number] /= lengths[number] || 1;
      if (best.length === ALIKE && likeness[number] <= likeness[best[ALIKE - 1]]) continue;
      let place = best.findIndex(other => likeness[other] < likeness[number]);
      best.splice(place < 0 ? best.length : place, 0, number);
      best.length = Math.min(best.length, ALIKE);
    }
    return best;
  }

  // ---- Elements --------------------------------------------------------------------------------------

  /** Control characters, and those that turn the direction of text, made visible. */
  const shown = text => String(text).replace(/[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu, "\ufffd");

  /** An element; children that are text become text, isolated where they are of the archive. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const foreign = text => element("bdi", {}, shown(text));
  const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
  const percent = p => (p === null ? "" : p >= 0.9995 ? "100%" : `${(100 * p).toFixed(1)}%`);

  function picture(one) {
    const frame = element("span", { class: "picture" });
    if (one.image) {
      const image = element("img", { alt: "", decoding: "async" });
      image.onerror = () => image.replaceWith(noPicture("the picture is missing in the folder of the page"));
      image.src = one.image;
      frame.append(image);
    } else frame.append(noPicture(one.failed));
    return frame;
  }
  const noPicture = why => element("span", { class: "none" }, "No picture: ", foreign(why));

  /** What a photo is called for those who do not see it. */
  const description = one =>
    shown(`${one.id}: ${(one.lists[0] || []).map(({ tag }) => tag).join(", ") || "no tags"}${
      one.failed ? " (no picture)" : ""}`);

  /** A photo with its tags, linked to its own page. wanted: tags of the query, which stand out. */
  function cell(one, address, wanted) {
    const text = element("span", { class: "text", "aria-hidden": "true" });
    const list = (one.lists[0] || []).map(({ tag }, place) => ({ tag, place, stands: wanted.has(fold(tag)) }));
    // There is room for a few: what was asked for goes before the others, with its place, where it stands behind them.
    const late = list.filter(({ place, stands }) => stands && place >= ROOM);
    [...late, ...list.filter(one => !late.includes(one))].forEach(({ tag, place, stands }, i) => {
      const name = foreign(tag);
      text.append(i ? ", " : "", stands ? element("b", {}, i < late.length ? `${place + 1}. ` : "", name) : name);
    });
    if (!text.hasChildNodes()) text.append("no tags");
    const link = { ...address, photo: one.id, n: one.number };
    return element(
      "a", { class: "cell", href: href(link), "aria-label": description(one), title: shown(one.id) }, picture(one), text
    );
  }

  // ---- The address -----------------------------------------------------------------------------------

  function address() {
    const given = new URLSearchParams(location.hash.slice(1));
    return {
      q: given.get("q") ?? "",
      by: given.get("by") === "presence" ? "presence" : "importance",
      photo: given.get("photo"),
      n: Number(given.get("n")) || 0,
      tags: given.has("tags"),
      failed: given.has("failed"),
    };
  }

  function href({ q = "", by = "importance", photo = null, n = 0, failed = false }) {
    const to = new URLSearchParams();
    if (photo !== null) {
      to.set("photo", photo);
      to.set("n", n);
    }
    if (failed) to.set("failed", "");
    else if (q || photo === null) to.set("q", q);
    if (by === "presence") to.set("by", by);
    return `#${to}`;
  }
  const searchFor = (tag, by) => href({ q: written(tag), by });

  // Where one was in each entry of the history: {y, at}.
  const places = new Map();
  let entry = "", showing = 0, comingFrom = null;

  function enter() {
    if (!history.state?.entry) history.replaceState({ entry: `${Date.now()}-${Math.random()}` }, "");
    entry = history.state.entry;
    return places.get(entry);
  }

  async function show() {
    const turn = ++showing, to = address(), before = enter();
    grid = null;
    closeChoices();
    box.value = to.q;
    for (const radio of document.querySelectorAll("#by input")) radio.checked = radio.value === to.by;
    const at = to.tags ? "to-tags" : to.photo === null && !to.q && !to.failed ? "home" : "";
    for (const id of ["home", "to-tags"])
      id === at ? find(id).setAttribute("aria-current", "page") : find(id).removeAttribute("aria-current");
    try {
      const draw = await (to.tags ? allTags(to) : to.photo !== null ? onePhoto(to) : manyPhotos(to, before));
      if (turn !== showing) return;
      draw(turn);
      if (!grid) scrollTo(0, before?.y ?? 0);
    } catch (error) {
      if (turn === showing) status.replaceChildren(shown(error.message));
    }
  }

  // ---- Many photos -----------------------------------------------------------------------------------

  let grid = null;

  async function manyPhotos(to, before) {
    const result = await found(to);
    return () => {
      const count = result.photos ? result.photos.length : archive.photos;
      document.title = to.q ? `${shown(to.q)}: ${many(count, "photo")}` : "Photos";
      say(to, result, count);
      const list = element("div", { class: "grid", role: "list", "aria-label": "Photos" });
      view.replaceChildren(list);
      grid = {
        list, to, count, photos: result.photos, wanted: new Set(result.wanted), at: before?.at ?? 0, cells: new Map()
      };
      list.addEventListener("keydown", move);
      list.addEventListener("focusin", event => {
        const at = Number(event.target.closest("[data-at]")?.dataset.at);
        if (at >= 0) stand(at);
      });
      measure();
      if (comingFrom !== null && !before) {
        const at = result.photos ? result.photos.indexOf(comingFrom) : comingFrom;
        if (at >= 0) grid.at = at;
        reveal(grid.at);
      } else scrollTo(0, before?.y ?? 0);
      const focus = comingFrom !== null;
      comingFrom = null;
      drawGrid();
      if (focus) focusCell(grid.at);
    };
  }

  function say(to, { wanted, unwanted, unknown }, count) {
    const quote = tag => element("b", {}, foreign(tags[tagNumber.get(tag)]?.name ?? tag));
    const list = (some, word) => some.flatMap(
      (tag, i) => [i ? (i === some.length - 1 ? ` ${word} ` : ", ") : "", quote(tag)]);
    const parts = [];
    if (to.failed) parts.push(`${many(count, "photo")} without a picture`);
    else if (unknown.length) {
      parts.push("No photo has the tag ", ...list(unknown, "or"), ".");
      const close = tags.filter(tag => unknown.some(word => tag.key.includes(word))).slice(0, 5);
      if (close.length) parts.push(" There is ");
      close.forEach((tag, i) =>
        parts.push(
          i ? ", " : "",
          element("a", { href: searchFor(tag.name, to.by) }, foreign(tag.name)),
          ` (${tag.count.toLocaleString("en")})`
        )
      );
    } else {
      parts.push(many(count, "photo"));
      if (wanted.length) parts.push(" with ", ...list(wanted, "and"));
      if (unwanted.length) parts.push(" without ", ...list(unwanted, "or"));
      if (wanted.length)
        parts.push(
          to.by === "presence" ? ", the most likely to have them first" : ", those in which they matter most first");
      else if (!unwanted.length && archive.failed.length)
        parts.push(
          "; ",
          element(
            "a", { href: href({ failed: true }) }, `${archive.failed.length.toLocaleString("en")} without a picture`)
        );
    }
    status.replaceChildren(...parts);
  }

  function measure() {
    const { list, count } = grid, width = list.clientWidth,
      rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const gap = width < 560 ? 10 : 16;
    grid.columns = Math.max(2, Math.floor((width + gap) / ((width < 560 ? 150 : 205) + gap)));
    grid.width = Math.floor((width - gap * (grid.columns - 1)) / grid.columns);
    grid.step = grid.width + gap;
    grid.row = Math.round(grid.width * 0.75 + 2.6 * rem + gap);
    const rows = Math.min(Math.ceil(count / grid.columns), Math.floor(HIGHEST / grid.row));
    grid.reach = Math.min(count, rows * grid.columns);
    list.style.height = `${rows * grid.row}px`;
    if (grid.reach < count) status.append(` (the first ${grid.reach.toLocaleString("en")} can be scrolled to)`);
    for (const node of grid.cells.values()) node.remove();
    grid.cells.clear();
  }

  /** Make the cells in view, and a little beyond; remove the others. */
  function drawGrid() {
    if (!grid) return;
    const top = grid.list.getBoundingClientRect().top;
    const from = Math.max(0, Math.floor(-top / grid.row) - 2) * grid.columns;
    const to = Math.min(grid.reach, (Math.ceil((innerHeight - top) / grid.row) + 2) * grid.columns);
    for (const [at, node] of grid.cells)
      if ((at < from || at >= to) && !node.contains(document.activeElement)) {
        node.remove();
        grid.cells.delete(at);
      }
    for (let at = from; at < to; at++) if (!grid.cells.has(at)) grid.cells.set(at, place(at));
    if (!grid.cells.has(grid.at)) grid.at = Math.min(from + 2 * grid.columns, Math.max(0, grid.reach - 1));
    stand(grid.at);
  }

  function place(at) {
    const node = element(
      "div", { role: "listitem", "aria-setsize": grid.count, "aria-posinset": at + 1, "data-at": at });
    const column = at % grid.columns, row = (at - column) / grid.columns;
    node.style.width = `${grid.width}px`;
    node.style.transform = `translate(${column * grid.step}px, ${row * grid.row}px)`;
    // In the order of the photos, whichever way one scrolls: for those who do not see where they stand.
    let next = null;
    for (let after = at + 1; after <= at + grid.columns * 40 && !next; after++) next = grid.cells.get(after) ?? null;
    grid.list.insertBefore(node, next);
    node.append(element("a", { class: "cell", href: "#", tabindex: -1 }, element("span", { class: "picture" })));
    fill(node, at, grid).catch(error => status.replaceChildren(shown(error.message)));
    return node;
  }

  async function fill(node, at, { photos, to, wanted }) {
    const one = await photo(photos ? photos[at] : at);
    if (!node.isConnected) return;
    const focused = node.contains(document.activeElement), made = cell(one, to, wanted);
    made.tabIndex = grid?.at === at ? 0 : -1;
    node.replaceChildren(made);
    if (focused) made.focus({ preventScroll: true });
  }

  /** The cell that the tab key leads to. */
  function stand(at) {
    for (const number of [grid.at, at])
      grid.cells.get(number)?.firstChild.setAttribute("tabindex", number === at ? 0 : -1);
    grid.at = at;
    places.set(entry, { ...places.get(entry), at });
  }

  /** Scroll so that a cell is in view, below the header. */
  function reveal(at) {
    const row = Math.floor(at / grid.columns) * grid.row, head = document.querySelector(".top").offsetHeight + 8;
    const top = grid.list.getBoundingClientRect().top + scrollY + row;
    if (top < scrollY + head) scrollTo(0, top - head);
    else if (top + grid.row > scrollY + innerHeight) scrollTo(0, top + grid.row - innerHeight);
  }

  function focusCell(at) {
    reveal(at);
    drawGrid();
    stand(at);
    grid.cells.get(at)?.firstChild.focus({ preventScroll: true });
  }

  function move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(innerHeight / grid.row) - 1) * grid.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns, PageUp: -page, PageDown: page,
      Home: -grid.at, End: grid.reach - 1 - grid.at,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const at = grid.at + steps[event.key];
    if (at >= 0 && at < grid.reach) focusCell(at);
    else if (Math.abs(steps[event.key]) > 1) focusCell(at < 0 ? grid.at % grid.columns : grid.reach - 1);
  }

  // ---- One photo -------------------------------------------------------------------------------------

  async function onePhoto(to) {
    const one = await lookUp(to);
    if (!one) return () => {
      view.replaceChildren();
      status.replaceChildren("There is no photo ", foreign(to.photo), " in this page.");
    };
    const result = await found(to);
    const at = result.photos ? result.photos.indexOf(one.number) : one.number;
    const count = result.photos ? result.photos.length : archive.photos;
    const number = place => (result.photos ? result.photos[place] : place);
    const [before, after] = await Promise.all(
      [at - 1, at + 1].map(place => (at >= 0 && place >= 0 && place < count ? photo(number(place)) : null))
    );
    return turn => {
      document.title = shown(one.id);
      status.replaceChildren();
      const named = new Set(one.people.flat().map(fold)), wanted = new Set(result.wanted);
      const predicted = new Set(one.lists.flatMap(list => list || []).map(({ tag }) => fold(tag)));
      const near = element(
        "section", { class: "alike" },
        element("h2", {}, "Most alike by their tags"), element("div", { class: "strip" }));
      const lists = archive.labels.map((label, file) => listSection(one.lists[file], label, named, to.by));
      view.replaceChildren(
        steps(to, one, at, count, before, after),
        element("article", { class: "photo", tabindex: -1, "aria-label": description(one) },
          figure(one),
          element("div", {},
            element("section", { class: "files" }, ...lists),
            ...(archive.people ? [peopleSection(one.people, predicted, to.by)] : [])
          ),
          near
        )
      );
      comingFrom = one.number;
      // The link that was followed is gone: whoever does not see the page is told what has come.
      if (document.activeElement === document.body) view.querySelector(".photo").focus({ preventScroll: true });
      nearby(one, near, to, wanted, turn).catch(error => status.replaceChildren(shown(error.message)));
    };
  }

  /** The photo of an address: by its number if that is still its own, else by its id. */
  async function lookUp({ photo: id, n }) {
    if (n < archive.photos && n >= 0) {
      const one = await photo(n);
      if (one.id === id) return one;
    }
    for (let start = 0; start < archive.photos; start += archive.block) {
      const place = (await part(`photos-${start / archive.block}`)).findIndex(([other]) => other === id);
      if (place >= 0) return photo(start + place);
    }
    return null;
  }

  function steps(to, one, at, count, before, after) {
    const context = { q: to.q, by: to.by, failed: to.failed };
    const step = (other, id, text) =>
      other ? element("a", { id, href: href({ ...context, photo: other.id, n: other.number }) }, text) : "";
    return element("nav", { class: "steps", "aria-label": "Photos" },
      step(before, "previous", "← Previous"), step(after, "next", "Next →"),
      at >= 0
        ? element("span", { class: "where" }, `${(at + 1).toLocaleString("en")} of ${count.toLocaleString("en")}`) : "",
      element(
        "a", { id: "back", href: href(context) }, ...(to.q ? ["Back to ", foreign(to.q)] : ["Back to the photos"]))
    );
  }

  function figure(one) {
    const mat = element("div", { class: "mat" });
    if (one.image) {
      const image = element("img", { alt: description(one), src: one.image });
      image.onerror = () => image.replaceWith(noPicture("the picture is missing in the folder of the page"));
      mat.append(image);
    } else mat.append(noPicture(one.failed));
    return element("figure", {}, mat, element("figcaption", {}, foreign(one.id)));
  }

  function listSection(list, label, named, by) {
    const several = archive.labels.length > 1;
    const section = element("section", {}, element("h2", {}, several ? foreign(label) : "Ranked tags"));
    if (!list || !list.length) {
      section.append(element("p", { class: "note" }, list ? "No tags." : "This file has no list of the photo."));
      return section;
    }
    const bars = element("ol", { class: "bars" });
    list.forEach(({ tag, probability }, place) => {
      const hit = named.has(fold(tag));
      const item = element("li", { class: hit ? "hit" : null },
        element("span", { class: "place", "aria-hidden": "true" }, String(place + 1)),
        element("span", {}, element("a", { href: searchFor(tag, by) }, foreign(tag)), hit ? " ✓" : "",
          hit ? element("span", { class: "hidden" }, " (people name it, too)") : ""),
        element("span", { class: "number" }, percent(probability))
      );
      if (probability !== null) {
        const bar = element("span");
        bar.style.width = `${100 * probability}%`;
        item.append(element("span", { class: "track", "aria-hidden": "true" }, bar));
      }
      bars.append(item);
    });
    section.append(bars);
    return section;
  }

  function peopleSection(people, predicted, by) {
    const section = element("section", {}, element("h2", {}, people.length > 1 ? "People’s lists" : "A person’s list"));
    if (!people.length) section.append(element("p", { class: "note" }, "Nobody has tagged this photo."));
    for (const person of people)
      section.append(element("ol", { class: "tags" }, ...person.map(tag => {
        const hit = predicted.has(fold(tag));
        const link = tagNumber.has(fold(tag)) ? element("a", { href: searchFor(tag, by) }, foreign(tag)) : foreign(tag);
        return element("li", { class: hit ? "hit" : "given" }, hit ? "✓ " : "", link);
      })));
    return section;
  }

  async function nearby(one, section, to, wanted, turn) {
    const found = await Promise.all((await alike(one)).map(photo));
    if (turn !== showing) return;
    if (!found.length) section.remove();
    section.lastChild.append(...found.map(other => cell(other, { by: to.by }, wanted)));
  }

  // ---- All tags --------------------------------------------------------------------------------------

  const ORDERS = {
    tag: ["ascending", (a, b) => a.key.localeCompare(b.key)],
    photos: ["descending", (a, b) => b.count - a.count || a.number - b.number],
    rank: ["ascending", (a, b) => a.meanRank - b.meanRank || b.count - a.count],
  };

  async function allTags(to) {
    const typical = await part("typical");
    return () => {
      document.title = "All tags";
      status.replaceChildren(`${many(tags.length, "tag")} in ${many(archive.photos, "photo")}`);
      const filter = element(
        "input", { type: "search", "aria-label": "Show only tags that hold", placeholder: "Filter" });
      const body = element("tbody"), more = element("button", { type: "button" });
      let order = "photos", limit = ROWS;
      const heads = Object.entries({ tag: "Tag", photos: "Photos", rank: "Mean rank" }).map(([name, text]) => {
        const button = element("button", { type: "button" }, text), head = element("th", { scope: "col" }, button);
        button.onclick = () => ((order = name), draw());
        return [name, head];
      });
      const draw = () => {
        for (const [name, head] of heads)
          name === order ? head.setAttribute("aria-sort", ORDERS[name][0]) : head.removeAttribute("aria-sort");
        const word = fold(filter.value), some = tags.filter(tag => tag.key.includes(word)).sort(ORDERS[order][1]);
        body.replaceChildren(...some.slice(0, limit).map(tag => tagRow(tag, typical[tag.number], to.by)));
        more.hidden = some.length <= limit;
        more.replaceChildren(`Show all ${some.length.toLocaleString("en")}`);
      };
      filter.oninput = draw;
      more.onclick = () => ((limit = Infinity), draw());
      draw();
      const table = element("table", { class: "all" },
        element("thead", {}, element(
          "tr", {}, ...heads.map(([, head]) => head), element("th", { scope: "col" }, "Where it matters most"))),
        body);
      view.replaceChildren(
        element("div", { class: "tools" }, filter),
        element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "All tags" }, table),
        more
      );
    };
  }

  function tagRow(tag, typical, by) {
    const pictures = typical.map(([n, id, image]) =>
      element(
        "a", { href: href({ q: written(tag.name), by, photo: id, n }), "aria-label": shown(id), title: shown(id) },
        element("img", { src: image, alt: "", loading: "lazy", decoding: "async" }))
    );
    const share = (100 * tag.count) / archive.photos;
    return element("tr", {},
      element("th", { scope: "row" }, element("a", { href: searchFor(tag.name, by) }, foreign(tag.name))),
      element("td", {}, tag.count.toLocaleString("en"), element("small", {}, `${share.toFixed(share < 1 ? 2 : 0)}%`)),
      element("td", {}, tag.meanRank.toFixed(1)),
      element("td", {}, element("div", { class: "typical" }, ...pictures))
    );
  }

  // ---- The search box --------------------------------------------------------------------------------

  let chosen = -1;

  /** The word of the query at the caret: {start, stop, minus, key}. */
  function word() {
    const caret = box.selectionStart ?? box.value.length;
    for (const match of box.value.matchAll(TERM)) {
      const stop = match.index + match[0].length;
      if (caret > match.index && caret <= stop)
        return { start: match.index, stop, minus: match[1], key: fold(match[3] || match[2].replaceAll('""', '"')) };
    }
    return null;
  }

  function complete() {
    const at = word();
    if (!at || !at.key) return closeChoices();
    const ranked = [[], [], []];
    for (const tag of tags) {
      const place = tag.key.indexOf(at.key);
      if (place >= 0) ranked[place === 0 ? 0 : tag.key[place - 1] === " " ? 1 : 2].push(tag);
      if (ranked[0].length >= CHOICES) break;
    }
    const some = ranked.flat().slice(0, CHOICES);
    choices.replaceChildren(...some.map((tag, i) => {
      const item = element("li", { role: "option", id: `choice-${i}`, "aria-selected": "false" },
        foreign(tag.name),
        element("span", {}, tag.count.toLocaleString("en"), element("span", { class: "hidden" }, " photos")));
      // The box keeps the focus.
      item.onmousedown = event => event.preventDefault();
      item.onclick = () => take(tag);
      item.tag = tag;
      return item;
    }));
    choose(-1);
    choices.hidden = !some.length;
    box.setAttribute("aria-expanded", String(some.length > 0));
  }

  function closeChoices() {
    choices.hidden = true;
    choices.replaceChildren();
    box.setAttribute("aria-expanded", "false");
    choose(-1);
  }

  function choose(number) {
    chosen = number;
    [...choices.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === number)));
    if (number >= 0) {
      box.setAttribute("aria-activedescendant", `choice-${number}`);
      choices.children[number].scrollIntoView({ block: "nearest" });
    } else box.removeAttribute("aria-activedescendant");
  }

  /** Put a tag in the place of the word at the caret, and search. */
  function take(tag) {
    const at = word();
    const text = `${at.minus}${written(tag.name)} `;
    box.value = box.value.slice(0, at.start) + text + box.value.slice(at.stop).trimStart();
    box.setSelectionRange(at.start + text.length, at.start + text.length);
    go();
  }

  function go() {
    closeChoices();
    const to = href({ q: box.value.trim(), by: document.querySelector("#by input:checked").value });
    if (to !== location.hash) location.hash = to;
  }

  box.addEventListener("input", complete);
  box.addEventListener("blur", closeChoices);
  box.addEventListener("keydown", event => {
    const count = choices.children.length;
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && count) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      choose(((chosen + 1 + step + count + 1) % (count + 1)) - 1);
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      take(choices.children[chosen].tag);
    } else if (event.key === "Escape" && count) {
      event.preventDefault();
      event.stopPropagation();
      closeChoices();
    }
  });
  find("search").addEventListener("submit", event => (event.preventDefault(), go()));
  find("by").addEventListener("change", () => {
    const to = address(), by = document.querySelector("#by input:checked").value;
    location.hash = to.photo !== null ? href({ ...to, by }) : href({ q: box.value.trim(), by });
  });
  find("skip").addEventListener("click", event => {
    event.preventDefault();
    grid && grid.count ? focusCell(grid.at) : main.focus();
  });

  document.addEventListener("keydown", event => {
    if (
      event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)
    ) return;
    const key = event.key;
    if (key === "/") {
      event.preventDefault();
      box.focus();
      box.select();
    } else if (address().photo !== null) {
      const to = find({ ArrowLeft: "previous", ArrowRight: "next", Escape: "back" }[key]);
      if (to) {
        event.preventDefault();
        to.click();
      }
    }
  });

  let asked = false;
  addEventListener("scroll", () => {
    places.set(entry, { ...places.get(entry), y: scrollY });
    if (!asked) requestAnimationFrame(() => ((asked = false), drawGrid()));
    asked = true;
  }, { passive: true });
  addEventListener("resize", () => {
    if (!grid) return;
    const at = grid.at, width = grid.list.clientWidth;
    if (width === grid.seen) return drawGrid();
    grid.seen = width;
    measure();
    drawGrid();
    if (scrollY > 0) reveal(at);
  });
  // For the console: what a query finds, as ranktag search finds it.
  window.ranktagSearch = async (query, by = "importance") => {
    await opened;
    const { photos, relevance, ...asked } = await search(query, by);
    return {
      ...asked,
      photos: photos && [...photos], relevance: photos && [...photos].map(number => relevance[number])
    };
  };
  addEventListener("hashchange", show);
  history.scrollRestoration = "manual";
  const opened = open();
  opened.then(show).catch(error => status.replaceChildren(shown(error.message)));
})();
