"""What the programs are made to say and to show: nothing of it is anybody else's."""

from __future__ import annotations

import base64

QUESTION = "What is the weather in Paris?"
SYSTEM = "Answer in one sentence."
MORE = "And tomorrow?"
ANSWER = "It is sunny."
RESULT = "sunny, 20 degrees"
OURS = frozenset({QUESTION, SYSTEM, MORE, ANSWER, RESULT, "The weather decides.", "c2lnbmVk"})

# One grey dot.
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
# One empty page.
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj
trailer<</Root 1 0 R>>
%%EOF
"""
