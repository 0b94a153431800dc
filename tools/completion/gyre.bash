# gyre.bash - bash completion of gyre(8).
#
# The words are those of the help texts; tests/cli/agree.sh compares them. Process ids and names come
# from `gyre -j process list`, probe names from `gyre -j probe list`. Options before the object are taken
# out before positions are counted. A keyword is offered once; `probe NAME` of `probe trace` may repeat.
# Needs bash alone, not the bash-completion package.

# members of one key in gyre's JSON, one a line
_gyre_members() {
	"${_gyre_command:-gyre}" -j $2 $3 2>/dev/null | grep -o "\"$1\":\(\"[^\"]*\"\|[0-9]*\)" |
		sed 's/^[^:]*://; s/"//g' | sort -u
}

_gyre_words() {
	COMPREPLY+=($(compgen -W "$*" -- "$_gyre_current"))
}

# The keywords of a command that were not used yet.
_gyre_unused() {
	local keyword used
	for keyword; do
		for used in "${_gyre_line[@]:2}"; do
			[ "$used" = "$keyword" ] && continue 2
		done
		_gyre_words "$keyword"
	done
}

# PROC := { pid PID | name COMM }; returns 0 while it is not complete
_gyre_proc() {
	local word
	case $_gyre_previous in
	pid) _gyre_words $(_gyre_members pid process list); return 0 ;;
	name) _gyre_words $(_gyre_members comm process list); return 0 ;;
	esac
	for word in "${_gyre_line[@]:1}"; do
		[ "$word" = pid ] || [ "$word" = name ] && return 1
	done
	_gyre_words pid name
	return 0
}

_gyre() {
	local _gyre_command=$1 _gyre_current=${COMP_WORDS[COMP_CWORD]} _gyre_previous=${COMP_WORDS[COMP_CWORD-1]}
	local _gyre_line=() word
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*) ;;
		*) _gyre_line+=("$word") ;;
		esac
	done
	if [ ${#_gyre_line[@]} = 0 ]; then
		case $_gyre_current in
		-*) _gyre_words --json --pretty --debug --version --help ;;
		*) _gyre_words heap alloc gc process probe feature barrier option top trace leak batch version help ;;
		esac
		return
	fi
	if [ ${#_gyre_line[@]} = 1 ]; then
		case ${_gyre_line[0]} in
		heap) _gyre_words show profile flame help ;;
		alloc) _gyre_words trace hist top help ;;
		barrier) _gyre_words stat top help ;;
		gc) _gyre_words show run trace phases help ;;
		process) _gyre_words show list help ;;
		probe) _gyre_words list show trace help ;;
		feature) _gyre_words probe help ;;
		option) _gyre_words list show set help ;;
		trace) _gyre_words record report export help ;;
		top) _gyre_words pid name help ;;
		leak) _gyre_words scan watch why guard help ;;
		batch) _gyre_words file help ;;
		esac
		return
	fi
	case "${_gyre_line[0]} ${_gyre_line[1]}" in
	'heap show')
		_gyre_proc || _gyre_unused classes options
		;;
	'heap profile' | 'heap flame')
		_gyre_proc && return
		case $_gyre_previous in
		kind) _gyre_words inuse alloc ;;
		by) _gyre_words space objects ;;
		format) _gyre_words text pprof folded json ;;
		output) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		top) ;;
		*)
			_gyre_unused kind by output
			[ "${_gyre_line[1]}" = flame ] || _gyre_unused format top
			;;
		esac
		;;
	'alloc trace')
		_gyre_proc && return
		case $_gyre_previous in
		kind) _gyre_words all alloc free ;;
		stack) _gyre_words line full none depth ;;
		clock) _gyre_words each shared ;;
		operation) _gyre_words malloc free new barrier ;;
		duration | count | min-bytes | depth | size | class | thread | ring) ;;
		*) _gyre_unused sampled every duration count stack kind min-bytes operation size class thread clock sum ring ;;
		esac
		;;
	'alloc hist' | 'alloc top')
		_gyre_proc && return
		case $_gyre_previous in
		by)
			[ "${_gyre_line[1]}" = hist ] && _gyre_words size class site lifetime || _gyre_words bytes count
			;;
		operation) _gyre_words malloc free new barrier ;;
		size | class | thread | interval | duration | count | rows) ;;
		*) _gyre_unused by operation size class thread interval duration count rows ;;
		esac
		;;
	'barrier stat')
		_gyre_proc && return
		case $_gyre_previous in
		interval | duration | count) ;;
		*) _gyre_unused interval duration count ;;
		esac
		;;
	'barrier top')
		_gyre_proc && return
		case $_gyre_previous in
		by) _gyre_words bytes count ;;
		interval | duration | count | rows) ;;
		*) _gyre_unused by interval duration count rows ;;
		esac
		;;
	'gc show')
		_gyre_proc || _gyre_unused options
		;;
	'gc run')
		_gyre_proc && return
		[ "$_gyre_previous" = wait ] || _gyre_unused wait
		;;
	'gc trace' | 'gc phases')
		_gyre_proc && return
		case $_gyre_previous in
		duration | count) ;;
		*) _gyre_unused duration count ;;
		esac
		;;
	'process list' | 'process show' | 'feature probe' | 'probe list' | 'option list' | 'option show')
		_gyre_proc || :
		;;
	'trace record')
		_gyre_proc && return
		case $_gyre_previous in
		output) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		writer) _gyre_words auto uring pwrite ;;
		duration | size) ;;
		*) _gyre_unused output duration stacks size writer ;;
		esac
		;;
	'trace report')
		case ${#_gyre_line[@]},$_gyre_previous in
		2,*) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		*,by) _gyre_words class site thread time ;;
		*,count) ;;
		*) _gyre_unused by count ;;
		esac
		;;
	'trace export')
		case ${#_gyre_line[@]},$_gyre_previous in
		2,* | *,output) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		*,format) _gyre_words chrome pprof folded json csv ;;
		*) _gyre_unused format output ;;
		esac
		;;
	'option set')
		_gyre_proc && return
		[ ${#_gyre_line[@]} = 4 ] && _gyre_words $(_gyre_members name option "list ${_gyre_line[2]} ${_gyre_line[3]}")
		;;
	'top pid' | 'top name')
		_gyre_proc && return
		case $_gyre_previous in
		sort) _gyre_words rate held growth ;;
		interval | count | sites) ;;
		*) _gyre_unused interval sort count sites ;;
		esac
		;;
	'leak scan')
		_gyre_proc && return
		case $_gyre_previous in
		proof) _gyre_words concurrent stop ;;
		format) _gyre_words text pprof folded json svg ;;
		suppressions | since | save | output) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		rounds | tag-mask | cpu | memory | stop-after | top) ;;
		*) _gyre_unused rounds proof exact tag-mask cpu memory stop-after suppressions since save format output top ;;
		esac
		;;
	'leak guard')
		case $_gyre_previous in
		directory) COMPREPLY=($(compgen -d -- "$_gyre_current")); return ;;
		esac
		_gyre_proc && return
		case $_gyre_previous in
		interval | duration | count) ;;
		*) _gyre_unused directory interval duration count ;;
		esac
		;;
	'leak why')
		_gyre_proc && return
		case $_gyre_previous in
		tag-mask | cpu | memory | stop-after) ;;
		*) _gyre_unused exact tag-mask cpu memory stop-after ;;
		esac
		;;
	'leak watch')
		_gyre_proc && return
		case $_gyre_previous in
		picture) COMPREPLY=($(compgen -f -- "$_gyre_current")) ;;
		interval | duration | count | sites | stacks) ;;
		*) _gyre_unused interval duration count sites stacks picture ;;
		esac
		;;
	'probe show')
		if [ ${#_gyre_line[@]} = 2 ]; then
			_gyre_words $(_gyre_members name probe list)
		else
			_gyre_proc || :
		fi
		;;
	'probe trace')
		_gyre_proc && return
		case $_gyre_previous in
		probe) _gyre_words $(_gyre_members name probe list) ;;
		duration | count) ;;
		*) _gyre_words probe; _gyre_unused duration count sum ;;
		esac
		;;
	'batch file')
		[ ${#_gyre_line[@]} = 2 ] && COMPREPLY=($(compgen -f -- "$_gyre_current"))
		;;
	esac
}
complete -o bashdefault -F _gyre gyre
