"""What photos and their sidecars say of themselves, read and written by the library exiv2: keywords in XMP and IPTC."""
