#compdef crolang-aio
# zsh completion for crolang-aio: a file _crolang-aio in a folder of $fpath, or source <(crolang-aio completion zsh).
_crolang-aio() {
	local line tab=$'\t'
	local -a values shown
	for line in "${(@f)$("${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		"") ;;
		:file)
			_files
			return
			;;
		*)
			values+=("${line%%$tab*}")
			shown+=("${line/$tab/  -- }")
			;;
		esac
	done
	# compadd quotes what a Node's id may have, since a stranger may have chosen it.
	(( ${#values} )) && compadd -l -d shown -a -- values
}
if [[ $funcstack[1] == _crolang-aio ]]; then
	_crolang-aio "$@"
else
	compdef _crolang-aio crolang-aio
fi
