# Completion of clinvk for bash: clinvk itself says what may come next.
_clinvk() {
    local offer help word head breaks words=() i
    # Bash breaks words at `=` and `:`: here they are put together again.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $word == [=:] || ${COMP_WORDS[i - 1]} == [=:] ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
    done
    word=${words[${#words[@]} - 1]}
    # What stands before such a break stays as it is.
    breaks=${COMP_WORDBREAKS//[^=:]/}
    [[ -n $breaks ]] && head=${word%"${word##*[$breaks]}"}
    while IFS=$'\t' read -r offer help; do
        case $offer in
            :files) compopt -o default ;;
            :dirs) compopt -o dirnames ;;
            "$word"*) COMPREPLY+=("${offer#"$head"}") ;;
        esac
    done < <("${1/#\~/$HOME}" completions -- "${words[@]}" 2>/dev/null)
}
complete -o nosort -F _clinvk clinvk
