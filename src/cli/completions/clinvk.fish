# Completion of clinvk for fish: clinvk itself says what may come next.
function __clinvk_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -e words[1]
    # A path behind `--flag=` is completed with that in front of it.
    set -l flag (string match -r '^--[^=]*=' -- $current)
    set -l path (string replace -- "$flag" '' $current)
    for line in ($program completions -- $words "$current" 2>/dev/null)
        switch $line
            case :files
                printf "$flag%s\n" (__fish_complete_path "$path")
            case :dirs
                printf "$flag%s\n" (__fish_complete_directories "$path" '')
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c clinvk -f -k -a '(__clinvk_complete)'
