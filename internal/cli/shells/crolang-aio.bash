# bash completion for crolang-aio. To have it in this shell: . <(crolang-aio completion bash)
_crolang_aio() {
	local cur line value help IFS=$' \t\n'
	local -a words
	read -r -a words <<<"${COMP_LINE:0:COMP_POINT}"
	case "${COMP_LINE:0:COMP_POINT}" in *[[:space:]]) words+=("") ;; esac
	cur=${words[${#words[@]} - 1]}
	# bash replaces what stands behind the last of these characters.
	local before=""
	case $cur in *[:=]*) [[ $COMP_WORDBREAKS == *:* ]] && before=${cur%"${cur##*[:=]}"} ;; esac
	COMPREPLY=()
	while IFS=$'\t' read -r value help; do
		if [[ $value == :file ]]; then
			compopt -o default -o filenames
			COMPREPLY=()
			return
		fi
		printf -v line %q "$value" # a Node's id may be a stranger's choice
		COMPREPLY+=("${line#"$before"}")
	done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	if [[ ${#COMPREPLY[@]} == 1 ]]; then
		COMPREPLY[0]+=" "
	fi
	compopt -o nospace
}
complete -F _crolang_aio crolang-aio
