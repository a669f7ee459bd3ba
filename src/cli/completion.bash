# Completion of kvik's command lines in bash. What there is to complete the programs tell, by --help.

_kvik_words() { # PATTERN COMMAND...: what matches in the command's help
	local pattern=$1
	shift
	"$@" --help 2>/dev/null | grep -oE -e "$pattern" | tr -d ' [' | sort -u
}

_kvik() {
	local word=${COMP_WORDS[COMP_CWORD]} words=
	COMPREPLY=()
	case $1 in
	*kvik-system-x86_64)
		[[ $word == -* ]] && words=$(_kvik_words '^  -[a-z0-9-]+' "$1")
		;;
	*kvik-nbd)
		[[ $word == -* ]] && words=$(_kvik_words '(^| |,)--?[a-z-]+' "$1" | tr -d ,)
		;;
	*kvik-img)
		((COMP_CWORD == 1)) && words=$(_kvik_words '^  [a-z]+' "$1")
		;;
	*)
		if ((COMP_CWORD == 1)); then
			words="run kvm image doctor --help --version"
		elif [[ ${COMP_WORDS[1]} == image ]] && ((COMP_CWORD == 2)); then
			words=$(_kvik_words '^  [a-z]+' "$1" image)
		elif [[ ${COMP_WORDS[1]} == @(run|kvm|doctor) && $word == -* ]]; then
			words=$(_kvik_words '(^|[ [])--[a-z-]+' "$1" "${COMP_WORDS[1]}")
		fi
		;;
	esac
	# Without a word of ours, bash completes names of files.
	[[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	return 0
}
complete -o default -F _kvik kvik kvik-img kvik-nbd kvik-system-x86_64
