package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// limits are what the machine itself does, without any server.
type limits struct {
	copied, loopback, secured, sealed float64 // MB a second; secured is loopback under TLS 1.3
	synced, signed, agreed            float64 // microseconds: fdatasync of 4 KiB; a signature and a key agreement of P-256
}

func (b *bench) measureLimits() limits {
	return limits{
		copied: copied(), loopback: sent(false), secured: sent(true), sealed: sealed(),
		synced: b.synced(), signed: signed(), agreed: agreed(),
	}
}

func (l limits) String() string {
	return fmt.Sprintf("memory copied %s MB/s; loopback %s MB/s, under TLS 1.3 %s MB/s; AES-128-GCM %s MB/s; one fdatasync of 4 KiB %s; one P-256 signature %s, one key agreement %s",
		number(l.copied), number(l.loopback), number(l.secured), number(l.sealed), micros(l.synced), micros(l.signed), micros(l.agreed))
}

// bound gives the machine's limit of a row in words, and which part of it r reaches.
type bound func(l limits, r result) (limit string, reached float64)

// bySync: each waits for a sync of its own.
func bySync(l limits, r result) (string, float64) {
	return micros(l.synced) + " sync", r.speed.median() * l.synced / 1e6
}

// byHandshake: of its processor time a handshake takes at least a signature and a key
// agreement.
func byHandshake(l limits, r result) (string, float64) {
	least := l.signed + l.agreed
	return micros(least) + " CPU", least / r.cpu.median()
}

// byLoopback: what is sent goes over loopback, to one client.
func byLoopback(l limits, r result) (string, float64) { return overWire(l.loopback, r) }

// byTLS is byLoopback under TLS.
func byTLS(l limits, r result) (string, float64) { return overWire(l.secured, r) }

func overWire(speed float64, r result) (string, float64) {
	most := speed * 1e6 / r.bytes.median()
	return number(most) + "/s", r.speed.median() / most
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

// sent gives the megabytes a second that one connection over loopback carries.
func sent(secure bool) float64 {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer l.Close()
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	if secure {
		dir, err := os.MkdirTemp("", "bench-")
		check(err)
		defer os.RemoveAll(dir)
		own, err := tls.LoadX509KeyPair(pair(dir))
		check(err)
		config.Certificates = []tls.Certificate{own}
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if secure {
			c = tls.Server(c, config)
		}
		buf := make([]byte, 256<<10)
		for err == nil {
			_, err = c.Write(buf)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	check(err)
	defer c.Close()
	if secure {
		c = tls.Client(c, config)
	}
	buf := make([]byte, 256<<10)
	_, err = c.Read(buf) // the handshake is not what is measured
	check(err)
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

// agreed gives microseconds: a new key, and what it and the other's make.
func agreed() float64 {
	other, err := ecdh.P256().GenerateKey(rand.Reader)
	check(err)
	return 1e6 / perSecond(func() {
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		check(err)
		_, err = key.ECDH(other.PublicKey())
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
