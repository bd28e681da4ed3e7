"""Whether a stranger's text turns the direction of what stands behind it.

U+202E makes everything up to the end of its paragraph run from right to left. A block ends it, and so does an
element whose `unicode-bidi` isolates; words of ours that follow in the same one would be shown backwards.
"""

from __future__ import annotations

#: A function of JavaScript: the texts of a page that stand behind U+202E and aren't the stranger's. Its
#: argument says whether every stranger's text of the page ends in U+202E and what `everything.SCRIPT` has
#: behind it, so that whatever else follows in the same text is ours.
STEERED = r"""(endsThere) => {
    const unseen = "script, style, template, textarea, option, title, noscript";
    const boxOf = (node) => {
        for (let one = node.parentElement; ; one = one.parentElement) {
            const style = getComputedStyle(one);
            const line = ["inline", "contents"].includes(style.display);
            if (!line || /isolate|plaintext/.test(style.unicodeBidi) || one === document.body) return one;
        }
    };
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode;
        const at = node.data.lastIndexOf("\u202e");
        if (at < 0 || node.parentElement.closest(unseen)) continue;
        const box = boxOf(node);
        // Where line ends are kept, each ends its paragraph.
        const lines = getComputedStyle(box).whiteSpace.startsWith("pre");
        const tail = node.data.slice(at + 1);
        const after = lines ? tail.split("\n")[0] : tail;
        const rest = after.replace(/^\s*(\x1b|\\x1b|\\u001b)?\[?3?1?m?/, "").trim();
        if (endsThere && rest && rest !== "\u2026") found.add(`${rest} | ${box.outerHTML.slice(0, 300)}`);
        if (lines && tail.includes("\n")) continue;
        const behind = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
        behind.currentNode = node;
        while (behind.nextNode()) {
            const next = behind.currentNode;
            if (!next.data.trim() || next.parentElement.closest(unseen) || boxOf(next) !== box) continue;
            if (next.data.includes("\u202e")) continue;
            found.add(`${next.data.trim()} | ${box.outerHTML.slice(0, 300)}`);
        }
    }
    return [...found].map((words) => `written backwards: ${words}`);
}"""
