// bench.go - what every Go program of this folder shares: the same arguments, random numbers, clock and
// one line of results as ../../bench.h and ../collector.h. Each program is built of this file and one other:
//
//	go build -o trees trees.go bench.go
package main

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// ---- random numbers: splitmix64 ----

type rng struct{ state uint64 }

func rngBegin(seed uint64) rng {
	return rng{seed*0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d}
}

func (r *rng) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func (r *rng) below(bound uint64) uint64 {
	high, _ := bits.Mul64(r.next(), bound)
	return high
}

// ---- arguments: name=value ----

var argsUsed int

func argText(name, fallback string) string {
	for _, word := range os.Args[1:] {
		if strings.HasPrefix(word, name+"=") {
			argsUsed++
			return word[len(name)+1:]
		}
	}
	return fallback
}

func arg(name string, fallback uint64) uint64 {
	text := argText(name, "")
	if text == "" {
		return fallback
	}
	value, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		die(name + "=" + text + " is not a number")
	}
	return value
}

func argsEnd() {
	if argsUsed != len(os.Args)-1 {
		die("an argument is unknown or given twice")
	}
}

func die(what string) {
	fmt.Fprintln(os.Stderr, "bench:", what)
	os.Exit(2)
}

// ---- memory that is the harness's own ----

func mapBytes(bytes uint64) unsafe.Pointer {
	at, err := syscall.Mmap(-1, 0, int(bytes), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		die("mmap: " + err.Error())
	}
	return unsafe.Pointer(&at[0])
}

func unmapBytes(at unsafe.Pointer, bytes uint64) {
	syscall.Syscall(syscall.SYS_MUNMAP, uintptr(at), uintptr(bytes), 0)
}

func fieldKib(path, field string) int64 {
	text, _ := os.ReadFile(path)
	at := strings.Index(string(text), field)
	if at < 0 {
		return -1
	}
	value, _ := strconv.ParseInt(strings.Fields(string(text[at+len(field):]))[0], 10, 64)
	return value
}

// ---- time, and the line of results ----

var base = time.Now()

func nowNs() uint64 { return uint64(time.Since(base)) }

type clock struct {
	wallNs, stopNs   uint64
	usage, stopUsage syscall.Rusage
}

func begin() clock {
	var c clock
	syscall.Getrusage(syscall.RUSAGE_SELF, &c.usage)
	c.wallNs = nowNs()
	return c
}

// stop: what comes between it and end is no part of the work.
func (c *clock) stop() {
	c.stopNs = nowNs()
	syscall.Getrusage(syscall.RUSAGE_SELF, &c.stopUsage)
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)*1e-6 }

type figures struct{ cycles, pauseLastNs, pauseMaxNs, pauseTotalNs uint64 }

// PauseNs keeps 256 cycles: the longest is that of the last 256.
func readFigures() figures {
	var stats runtime.MemStats
	var result figures
	runtime.ReadMemStats(&stats)
	result.cycles = uint64(stats.NumGC)
	result.pauseTotalNs = stats.PauseTotalNs
	result.pauseLastNs = stats.PauseNs[(stats.NumGC+255)%256]
	for _, ns := range stats.PauseNs {
		if ns > result.pauseMaxNs {
			result.pauseMaxNs = ns
		}
	}
	return result
}

func (c *clock) end(operations float64, checksum uint64) {
	if c.stopNs == 0 {
		c.stop()
	}
	wall := float64(c.stopNs-c.wallNs) / 1e9
	user := seconds(c.stopUsage.Utime) - seconds(c.usage.Utime)
	system := seconds(c.stopUsage.Stime) - seconds(c.usage.Stime)
	f := readFigures()
	fmt.Printf("checksum=%d cycles=%d pause_max_us=%.1f pause_total_us=%.1f ", checksum&0xffffffffffff,
		f.cycles, float64(f.pauseMaxNs)/1e3, float64(f.pauseTotalNs)/1e3)
	fmt.Printf("wall_s=%.6f cpu_s=%.6f user_s=%.6f system_s=%.6f operations=%.0f peak_kib=%d\n",
		wall, user+system, user, system, operations, fieldKib("/proc/self/status", "VmHWM:"))
}

// ---- threads, collections ----

func threads(count uint64, run func(number uint64) uint64) uint64 {
	var group sync.WaitGroup
	sums := make([]uint64, count)
	for i := uint64(0); i < count; i++ {
		group.Add(1)
		go func(i uint64) {
			defer group.Done()
			sums[i] = run(i)
		}(i)
	}
	group.Wait()
	var sum uint64
	for _, one := range sums {
		sum += one
	}
	return sum
}

var percent int

func hold()  { percent = debug.SetGCPercent(-1) }
func letGo() { debug.SetGCPercent(percent) }

// ---- latencies ----

const buckets32 = 60 * 32

type histogram struct {
	counts           [buckets32]uint64
	total, longestNs uint64
}

func (h *histogram) add(ns uint64) {
	octave := 0
	if ns >= 64 {
		octave = 58 - bits.LeadingZeros64(ns)
	}
	h.counts[octave*32+int(ns>>octave)]++
	h.total++
	if ns > h.longestNs {
		h.longestNs = ns
	}
}

func (h *histogram) merge(from *histogram) {
	for i := range h.counts {
		h.counts[i] += from.counts[i]
	}
	h.total += from.total
	if from.longestNs > h.longestNs {
		h.longestNs = from.longestNs
	}
}

func (h *histogram) us(share float64) float64 {
	below, seen := share*float64(h.total), 0.0
	for i, count := range h.counts {
		seen += float64(count)
		if seen >= below && seen > 0 {
			octave := 0
			if i >= 32 {
				octave = i/32 - 1
			}
			return float64(uint64(i-octave*32+1)<<octave) / 1e3
		}
	}
	return 0
}
