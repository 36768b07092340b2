"""Texts that try to run as code or to break out of where they stand: 200 of them."""

from __future__ import annotations

from itertools import islice, product

CALL = "window.pwned=1"
PAYLOADS = (
    f"<script>{CALL}</script>",
    f"<img src=x onerror={CALL}>",
    f"<svg onload={CALL}>",
    f"<iframe srcdoc='<script>parent.{CALL}</script>'>",
    f"<details open ontoggle={CALL}>",
    f"<a href=javascript:{CALL}>x</a>",
    f"<style>@import 'data:text/css,*{{background:url(javascript:{CALL})}}'</style>",
    f"<body onload={CALL}>",
    f"<input autofocus onfocus={CALL}>",
    f"<math><mtext><script>{CALL}</script></mtext></math>",
    f"${{{CALL}}}",
    f"{{{{{CALL}}}}}",
    f"{{% raw %}}{CALL}{{% endraw %}}",
    f"javascript:{CALL}",
    f"data:text/html,<script>{CALL}</script>",
    f"\\u003cscript\\u003e{CALL}\\u003c/script\\u003e",
    f"&lt;script&gt;{CALL}&lt;/script&gt;",
    f"%3Cscript%3E{CALL}%3C/script%3E",
    f"</title><script>{CALL}</script>",
    f"--><script>{CALL}</script><!--",
)
AROUND = ("{}", '"{}', "'{}", "`{}", '">{}', "'>{}", "`);{};//", "</script>{}", "]]>{}", "\u202e{}")

HOSTILE = tuple(islice((frame.format(p) for p, frame in product(PAYLOADS, AROUND)), 200))
