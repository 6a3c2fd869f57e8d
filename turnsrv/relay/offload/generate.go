package offload

//go:generate go tool -modfile=../../../tools/go.mod bpf2go -go-package offload -target bpfel -tags linux,!portable -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -mcpu=v3 -Wall -I/usr/include/x86_64-linux-gnu" -type key -type flow -type state -output-stem program program bpf/relay.c
