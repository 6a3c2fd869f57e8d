package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// lowest is the first port whose datagrams are sent back: where Linux gives ports to sockets that ask for none, as those of
// relays do here.
const lowest = 32768

// Offsets into a frame of Ethernet, IPv4 without options, and UDP.
const (
	atType, atVersion, atProtocol = 12, 14, 23
	atSource, atDestination       = 26, 30
	atFrom, atTo, atChecksum      = 34, 36, 40
	headers                       = 42
)

// reflect has the kernel send back what arrives at an interface for a relay's port, before any socket sees it: addresses and
// ports change places, and the checksum goes, which IPv4 allows. It is the least that taking a datagram in and sending one
// out can cost there. It ends with l.
func reflect(device string) (l link.Link, err error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", device, err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Apache-2.0", Instructions: reflection(i.Index)})
	if err != nil {
		return nil, fmt.Errorf("loading the program that sends back: %w", err)
	}
	defer func() { err = errors.Join(err, p.Close()) }() // the link keeps it
	l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: i.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attaching to %s: %w", device, err)
	}
	return l, nil
}

func reflection(index int) asm.Instructions {
	const pass = 2 // XDP_PASS
	data, end, a, b := asm.R6, asm.R7, asm.R2, asm.R3
	swap := func(size asm.Size, x, y int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(a, data, x, size), asm.LoadMem(b, data, y, size),
			asm.StoreMem(data, x, b, size), asm.StoreMem(data, y, a, size),
		}
	}
	p := asm.Instructions{
		asm.LoadMem(data, asm.R1, 0, asm.Word), asm.LoadMem(end, asm.R1, 4, asm.Word), // xdp_md.data, data_end
		asm.Mov.Reg(a, data), asm.Add.Imm(a, headers), asm.JGT.Reg(a, end, "pass"),
		asm.LoadMem(a, data, atType, asm.Half), asm.HostTo(asm.BE, a, asm.Half), asm.JNE.Imm(a, 0x0800, "pass"),
		asm.LoadMem(a, data, atVersion, asm.Byte), asm.JNE.Imm(a, 0x45, "pass"),
		asm.LoadMem(a, data, atProtocol, asm.Byte), asm.JNE.Imm(a, 17, "pass"),
		asm.LoadMem(a, data, atTo, asm.Half), asm.HostTo(asm.BE, a, asm.Half), asm.JLT.Imm(a, lowest, "pass"),
	}
	p = append(p, swap(asm.Word, 0, 6)...)
	p = append(p, swap(asm.Half, 4, 10)...)
	p = append(p, swap(asm.Word, atSource, atDestination)...)
	p = append(p, swap(asm.Half, atFrom, atTo)...)
	return append(p,
		asm.StoreImm(data, atChecksum, 0, asm.Half),
		// XDP_TX of a veth does not wake the other end; a redirection does.
		asm.Mov.Imm(asm.R1, int32(index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"), asm.Return(),
	)
}
