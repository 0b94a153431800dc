# gen_man3.awk - a section 3 manual page for one public function, out of the text in its header.
#
#   awk -v page=gyre_trim -v header=gyre/gyre.h -v version=0.1.0 -f gen_man3.awk gyre.h >gyre_trim.3
#   awk -v page=LIST -f gen_man3.awk gyre.h          the names of all pages
#
# The header's form, which this relies on and tests/static/tables.sh checks by running it:
#
#   /* gyre_a, gyre_b - what they do.
#    * Prose, any number of lines.
#    * @parameter  what it is; continued on lines that are indented more
#    * Returns     ...          (Errors, Threads, Signals, Fork, Cost, Since, Source; several may share
#    *                           a line, three blanks apart)
#    */
#   prototypes up to the blank line
#
# Structures that a prototype names are shown whole in the synopsis, if their own text is of the form
# "struct gyre_x - what it is". Macros have pages too (GYRE_A, or gyre_a): the synopsis shows how they
# are called; inline functions and conditionals stand for themselves in the header.

function roff(text) { gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); sub(/^[.']/, "\\\\\\&&", text); return text }

function keep_field(text,    word) {
	if (match(text, /^@[A-Za-z_]+/)) {
		word = substr(text, 2, RLENGTH - 1)
		parameters = parameters ".TP\n.I " word "\n"
		parameters = parameters lines_of(substr(text, RLENGTH + 1))
		target = "parameters"
		return
	}
	if (match(text, /^(Returns|Errors|Misuse|Threads|Signals|Fork|Cost|Since|Source)(, (Threads|Signals|Fork|Cost))*/)) {
		word = substr(text, 1, RLENGTH)
		fields = fields ".TP\n.B " word "\n" lines_of(substr(text, RLENGTH + 1))
		target = "fields"
		return
	}
	if (target == "parameters") parameters = parameters lines_of(text)
	else if (target == "fields") fields = fields (trim(text) ~ /^-?E[A-Z]+/ ? ".br\n" : "") lines_of(text)
	else prose = prose roff(trim(text)) "\n"
}
# Errors stand in a line with three blanks between them: each gets a line of its own.
function lines_of(text) { text = trim(text); gsub(/   +-E/, "\n.br\n-E", text); return roff(text) "\n" }
function trim(text) { sub(/^[ \t]+/, "", text); sub(/[ \t]+$/, "", text); return text }

# A line of the synopsis: a prototype as it is, of a macro how it is called, of its body nothing.
function synopsis_of(line,    continued) {
	continued = in_macro
	in_macro = line ~ /\\$/
	if (continued) return ""
	if (line ~ /^#define/) {
		sub(/^#define /, "", line)
		sub(/\).*/, ")", line)
		return line "\n"
	}
	if (line ~ /^#(if|else|endif)/) bare = 1
	return bare ? "" : line "\n"
}

# One comment line: fields that share it are cut apart.
function take_line(text,    again) {
	sub(/ *\*\/ *$/, "", text)
	sub(/^ \* ?/, "", text)
	while (match(text, /[^ ]   +(Errors|Signals|Fork|Cost|Source|Threads)[ ,]/)) {
		again = substr(text, RSTART + 1)
		keep_field(substr(text, 1, RSTART))
		text = trim(again)
	}
	if (text != "") keep_field(text)
}

{ lines[NR] = $0 }

END {
	for (i = 1; i <= NR; i++) {
		line = lines[i]
		if (line ~ /^\/\* struct gyre_[a-z_]+ - /) told = 1
		if (line == "") told = 0
		if (told && line ~ /^struct gyre_[a-z_]+ \{/) {
			split(line, word, " ")
			for (body = line; line != "};" && i < NR;) { line = lines[++i]; body = body "\n" line }
			structures[word[2]] = body
		}
	}
	for (i = 1; i <= NR; i++) {
		if (lines[i] !~ /^\/\* (gyre|GYRE)_[A-Za-z_, ]+ - /) continue
		start = i
		title = lines[i]
		sub(/^\/\* /, "", title)
		names = title
		sub(/ - .*/, "", names)
		split(names, name, ", ")
		if (page == "LIST") { print name[1]; continue }
		if (name[1] != page) continue

		prose = parameters = fields = target = ""
		in_macro = bare = 0
		sub(/^[^-]* - /, "", title)
		first = title
		closed = (first ~ /\*\/ *$/)
		sub(/ *\*\/ *$/, "", first)
		cut = index(first, ";")
		brief = cut ? substr(first, 1, cut - 1) : first
		sub(/\.$/, "", brief)
		if (cut) prose = roff(trim(substr(first, cut + 1))) "\n"
		while (!closed) {
			line = lines[++i]
			closed = (line ~ /\*\//)
			take_line(line)
		}
		synopsis = ""
		for (i++; i <= NR && lines[i] != ""; i++) synopsis = synopsis synopsis_of(lines[i])

		print ".\\\" Made from " header " by tools/dev/gen_man3.awk"
		print ".TH " toupper(page) " 3 \"\" \"Gyre " version "\" \"Gyre\""
		print ".SH NAME\n" names " \\- " roff(brief)
		print ".SH SYNOPSIS\n.nf\n.B #include <" header ">\n"
		for (s in structures) if (index(synopsis, "struct " s " ")) { text = structures[s]; gsub(/\\/, "\\e", text); print text "\n" }
		if (name[1] == "gyre_set") synopsis = "gyre_set(slot, value)\n"
		text = synopsis
		printf "%s", text
		print ".fi\n\nLink with \\fI\\-lgyre\\fR."
		if (prose != "" || parameters != "") print ".SH DESCRIPTION"
		if (prose != "") printf "%s", prose
		if (parameters != "") printf "%s", parameters
		if (fields != "") { print ".SH NOTES"; printf "%s", fields }
		if (header == "gyre/sync.h") print ".SH SEE ALSO\n.BR gyre_sync (3),\n.BR gyre-memory-model (7)"
		else print ".SH SEE ALSO\n.BR " (header == "gyre/gyre.h" ? "gyre" : "gyre_gc") " (7)"
	}
}
