"""What is blank at an end of a text, by Python's own tables of Unicode: the meaning that the queries' class is held against."""

import unicodedata

WITHOUT_WIDTH = set("\u00ad\u180e\ufeff") | {chr(n) for n in (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065))}
BLANKS = "".join(one for one in map(chr, range(0x110000)) if unicodedata.category(one) in ("Cc", "Zs", "Zl", "Zp") or one in WITHOUT_WIDTH)
