# fish completion for crolang-aio: crolang-aio completion fish > ~/.config/fish/completions/crolang-aio.fish
function __crolang_aio_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($before[1] __complete $before[2..-1] -- "$current" 2>/dev/null)
    if test "$found" = :file
        __fish_complete_path "$current"
        return
    end
    string join -- \n $found # fish quotes what a Node's id may have
end
complete -c crolang-aio -f -a '(__crolang_aio_complete)'
