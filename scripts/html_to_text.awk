# html_to_text.awk: the prose of HTML pages, a paragraph a line, an empty line between paragraphs, and a line
# <|endoftext|> before each page that has any prose.
#
#     awk -f scripts/html_to_text.awk page.html...
#
# Kept: headings, paragraphs, list items, definitions, quotations. Left out: scripts, styles, navigation, forms, code
# blocks, tables, and lines without three words. Every record is one tag and the text after it.
BEGIN {
    RS = "<"
    split("script style pre nav form table head svg footer select button textarea title", words, " ")
    for (i in words) left_out[words[i]] = 1
    split("p div li ul ol dl dt dd h1 h2 h3 h4 h5 h6 blockquote section article main body td tr br hr", words, " ")
    for (i in words) block[words[i]] = 1
    split("amp & lt < gt > quot \" apos ' nbsp \302\240 mdash \342\200\224 ndash \342\200\223 hellip \342\200\246 " \
          "lsquo \342\200\230 rsquo \342\200\231 ldquo \342\200\234 rdquo \342\200\235 copy \302\251", words, " ")
    for (i = 1; i in words; i += 2) entity[words[i]] = words[i + 1]
    entity["nbsp"] = " "
}

function utf8(code) {
    if (code == 160) return " "
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64,
                   128 + code % 64)
}

function hexadecimal(digits,    value, i) {
    for (i = 1; i <= length(digits); i++) value = 16 * value + index("0123456789abcdef", substr(digits, i, 1)) - 1
    return value
}

function decoded(text,    out, name) {
    while (match(text, /&#?[A-Za-z0-9]+;/)) {
        name = substr(text, RSTART + 1, RLENGTH - 2)
        out = out substr(text, 1, RSTART - 1)
        if (name ~ /^#[xX]/) out = out utf8(hexadecimal(tolower(substr(name, 3))))
        else if (name ~ /^#/) out = out utf8(substr(name, 2) + 0)
        else if (name in entity) out = out entity[name]
        else if (name ~ /^[A-Za-z](acute|grave|circ|tilde|uml|cedil|ring|slash|caron)$/) out = out substr(name, 1, 1)
        text = substr(text, RSTART + RLENGTH)
    }
    return out text
}

function end_paragraph() {
    gsub(/[ \t\r\n]+/, " ", paragraph)
    paragraph = decoded(paragraph)
    gsub(/\302\266/, "", paragraph) # the pilcrow that Sphinx hangs on headings
    gsub(/^ +| +$/, "", paragraph)
    if (split(paragraph, words, " ") >= 3) {
        if (!printed++) print "<|endoftext|>"
        print paragraph "\n"
    }
    paragraph = ""
}

FNR == 1 {
    end_paragraph()
    depth = printed = 0
    next
}

{
    close_at = index($0, ">")
    name = tolower(substr($0, 1, close_at - 1))
    text = substr($0, close_at + 1)
    closing = sub(/^\//, "", name)
    sub(/[ \t\r\n\/].*/, "", name)
    if (name in left_out) {
        if (closing) depth -= depth > 0
        else depth++
        end_paragraph()
    }
    if (depth) next
    if (name in block) end_paragraph()
    paragraph = paragraph text
}

END { end_paragraph() }
