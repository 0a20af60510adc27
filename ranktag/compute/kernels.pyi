"""See kernels.c. Arrays are addresses of contiguous memory: of float32, or where ``# numbers`` says so of bfloat16 if
``bfloat16`` is 1. Rows are shared out among ``threads``."""

def lstm_forward(
    threads: int,
    bfloat16: int,
    rows: int,
    hidden: int,
    gates: int,  # numbers
    image: int,  # numbers
    product: int,  # numbers
    c: int,
    activated: int,
    c_next: int,
    output: int,  # numbers
    /,
) -> None: ...
def lstm_backward(
    threads: int,
    bfloat16: int,
    rows: int,
    hidden: int,
    later: int,
    activated: int,
    c: int,
    c_next: int,
    d_output: int,  # numbers
    d_h: int,  # numbers
    d_c: int,
    d_gates: int,  # numbers
    /,
) -> None: ...
def sum_steps(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    steps: int,
    sizes: int,  # int64
    packed: int,  # numbers
    sums: int,  # numbers
    /,
) -> None: ...
def adamw(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    scale: float,
    lr: float,
    decay: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    counted: float,
    used: int,  # int64
    weights: int,
    mean: int,
    square: int,
    gradient: int,  # numbers
    rounded: int,  # bfloat16
    steps: int,
    /,
) -> None: ...
def squares(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    gradient: int,  # numbers
    sums: int,
    /,
) -> float: ...
def dropout(
    threads: int,
    bfloat16: int,
    count: int,
    seed: int,
    dropped: int,
    scale: float,
    x: int,  # numbers
    y: int,  # numbers
    /,
) -> None: ...
def cross_entropy(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    smoothing: float,
    divisor: float,
    logits: int,  # numbers
    target: int,  # int64
    losses: int,
    gradient: int,  # numbers
    /,
) -> float: ...
def standardise(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    kept: int,
    float16: int,
    factor: float,
    features: int,  # of float16 if ``float16`` is 1
    columns: int,  # int64
    mean: int,
    scale: int,
    standardised: int,  # numbers
    /,
) -> None: ...
def take_table_rows(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    which: int,  # int64
    table: int,
    taken: int,  # numbers
    /,
) -> None: ...
def add_table_rows(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    which: int,  # int64
    table: int,
    taken: int,  # numbers
    /,
) -> None: ...
def look_up(
    threads: int,
    bfloat16: int,
    rows: int,
    width: int,
    pixels: int,  # uint8
    tables: int,  # numbers
    found: int,  # numbers
    /,
) -> None: ...
def pool(
    threads: int,
    bfloat16: int,
    rows: int,
    height: int,
    width: int,
    channels: int,
    x: int,  # numbers
    largest: int,  # numbers
    /,
) -> None: ...
