#compdef postern
# Completion of postern in zsh: put this into ~/.zshrc behind compinit, or the
# output of "postern completion zsh" into a file _postern in a folder of $fpath.
#
#   eval "$(postern completion zsh)"

_postern() {
	local line value
	local -a described values
	local -a anycase=(-M 'm:{[:lower:][:upper:]}={[:upper:][:lower:]}')
	local -a before=("${(@Q)words[2,CURRENT-1]}")
	for line in "${(@f)$("${words[1]/#\~/$HOME}" __complete words "${before[@]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
		[[ -n $line ]] || continue
		value="${line%%$'\t'*}" line="${line#*$'\t'}"
		if [[ -n $line ]]; then
			described+=("${value//:/\\:}:$line")
		else
			values+=("$value")
		fi
	done
	(( $#values )) && compadd -V postern "${anycase[@]}" -a values
	(( $#described )) && _describe -V 'postern' described "${anycase[@]}"
}

if [[ $funcstack[1] == _postern ]]; then
	_postern "$@"
else
	compdef _postern postern
fi
