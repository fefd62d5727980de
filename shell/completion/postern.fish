# Completion of postern in fish: put the output of "postern completion fish" into
# ~/.config/fish/completions/postern.fish.

function __postern_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    $program __complete words $words (commandline -ct) 2>/dev/null
end

complete -c postern -f -k -a '(__postern_complete)'
