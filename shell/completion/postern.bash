# Completion of postern in bash: put this into ~/.bashrc, or the output of
# "postern completion bash" into /etc/bash_completion.d/postern.
#
#   eval "$(postern completion bash)"

_postern() {
	local line="${COMP_LINE:0:COMP_POINT}" word prefix="" value
	COMPREPLY=()
	# Bash puts what it is given behind the last colon of the word.
	word="${line##*[[:space:]]}"
	if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
		prefix="${word%"${word##*:}"}"
	fi
	while IFS=$'\t' read -r value _; do
		value="${value#"$prefix"}"
		[[ $value == */ ]] && compopt -o nospace 2>/dev/null
		printf -v value %q "$value"
		COMPREPLY+=("$value")
	done < <("${1/#\~/$HOME}" __complete bash "$line" 2>/dev/null)
}

complete -o nosort -F _postern postern
