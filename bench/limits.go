package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// limits writes what the machine itself does, without any server.
func (b *bench) limits(out io.Writer) {
	fmt.Fprintf(out, "What this machine allows: memory copied %s MB/s; loopback %s MB/s; one fdatasync of 4 KiB %s; one P-256 signature %s; AES-128-GCM %s MB/s.\n\n",
		number(copied()), number(loopback()), micros(b.synced()), micros(signed()), number(sealed()))
}

// perSecond runs f for a third of a second and gives how often a second.
func perSecond(f func()) float64 {
	n, start := 0, time.Now()
	for time.Since(start) < time.Second/3 {
		f()
		n++
	}
	return float64(n) / time.Since(start).Seconds()
}

func copied() float64 {
	from, to := bytes.Repeat([]byte{1}, 64<<20), bytes.Repeat([]byte{2}, 64<<20) // no page is new
	return perSecond(func() { copy(to, from) }) * float64(len(from)) / 1e6
}

func loopback() float64 {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 256<<10)
		for err == nil {
			_, err = c.Write(buf)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	check(err)
	defer c.Close()
	buf := make([]byte, 256<<10)
	sum := 0
	start := time.Now()
	for time.Since(start) < time.Second/3 {
		n, err := c.Read(buf)
		check(err)
		sum += n
	}
	return float64(sum) / time.Since(start).Seconds() / 1e6
}

// synced gives microseconds.
func (b *bench) synced() float64 {
	f, err := os.Create(filepath.Join(b.dir, "sync"))
	check(err)
	defer os.Remove(f.Name())
	defer f.Close()
	buf := make([]byte, 4096)
	return 1e6 / perSecond(func() {
		_, err := f.Write(buf)
		check(err)
		check(syscall.Fdatasync(int(f.Fd())))
	})
}

// signed gives microseconds.
func signed() float64 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	sum := sha256.Sum256([]byte("limits"))
	return 1e6 / perSecond(func() {
		_, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		check(err)
	})
}

func sealed() float64 {
	block, err := aes.NewCipher(make([]byte, 16))
	check(err)
	seal, err := cipher.NewGCM(block)
	check(err)
	buf, nonce := make([]byte, 16<<10), make([]byte, seal.NonceSize())
	to := make([]byte, 0, len(buf)+seal.Overhead())
	return perSecond(func() { seal.Seal(to, nonce, buf, nil) }) * float64(len(buf)) / 1e6
}
