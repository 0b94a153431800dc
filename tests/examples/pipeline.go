// pipeline.go - pipeline.c in Go: the same chunks, channels, tables and output.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"time"
)

const chunkBytes = 1 << 20

type chunk struct {
	length int
	data   [chunkBytes]byte
}

type path struct {
	name                  string
	count, bytes, slowest uint64
}

type table struct {
	paths      map[string]*path
	lines, bad uint64
}

var pool = sync.Pool{New: func() any { return new(chunk) }}

func number(word []byte) uint64 {
	var sum uint64
	for _, digit := range word {
		if digit < '0' || digit > '9' {
			break
		}
		sum = sum*10 + uint64(digit-'0')
	}
	return sum
}

func (t *table) line(line []byte) {
	var words [6][]byte
	for i := range words {
		if len(line) == 0 {
			t.bad++
			return
		}
		end := bytes.IndexByte(line, ' ')
		if end < 0 {
			words[i], line = line, nil
		} else {
			words[i], line = line[:end], line[end+1:]
		}
	}
	p := t.paths[string(words[2])]
	if p == nil {
		p = &path{name: string(words[2])}
		t.paths[p.name] = p
	}
	p.count++
	p.bytes += number(words[4])
	if us := number(words[5]); us > p.slowest {
		p.slowest = us
	}
	t.lines++
}

func parse(chunks chan *chunk, tables chan *table, done *sync.WaitGroup) {
	for c := range chunks {
		t := &table{paths: make(map[string]*path)}
		for data := c.data[:c.length]; len(data) > 0; {
			end := bytes.IndexByte(data, '\n')
			if end < 0 {
				t.line(data)
				break
			}
			t.line(data[:end])
			data = data[end+1:]
		}
		pool.Put(c)
		tables <- t
	}
	done.Done()
}

func read(file *os.File, chunks chan *chunk) {
	c := pool.Get().(*chunk)
	c.length = 0
	for {
		got, err := file.Read(c.data[c.length:])
		c.length += got
		if err != nil {
			break
		}
		if c.length < chunkBytes {
			continue
		}
		end := bytes.LastIndexByte(c.data[:c.length], '\n') + 1
		if end == 0 {
			end = c.length
		}
		next := pool.Get().(*chunk)
		next.length = copy(next.data[:], c.data[end:c.length])
		c.length = end
		chunks <- c
		c = next
	}
	chunks <- c
	close(chunks)
}

func main() {
	parsers := 2
	if len(os.Args) > 2 {
		parsers, _ = strconv.Atoi(os.Args[2])
	}
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	begin := time.Now()
	chunks, tables := make(chan *chunk, 4), make(chan *table, 4)
	var done sync.WaitGroup
	done.Add(parsers)
	for i := 0; i < parsers; i++ {
		go parse(chunks, tables, &done)
	}
	go func() {
		read(file, chunks)
		done.Wait()
		close(tables)
	}()
	all := &table{paths: make(map[string]*path)}
	for t := range tables {
		for name, from := range t.paths {
			p := all.paths[name]
			if p == nil {
				p = &path{name: name}
				all.paths[name] = p
			}
			p.count += from.count
			p.bytes += from.bytes
			if from.slowest > p.slowest {
				p.slowest = from.slowest
			}
		}
		all.lines += t.lines
		all.bad += t.bad
	}
	took := time.Since(begin)
	var top []*path
	for _, p := range all.paths {
		top = append(top, p)
	}
	sort.Slice(top, func(i, j int) bool {
		return top[i].count > top[j].count || top[i].count == top[j].count && top[i].name < top[j].name
	})
	fmt.Println("lines", all.lines, "bad", all.bad, "paths", len(all.paths))
	if len(top) > 10 {
		top = top[:10]
	}
	for _, p := range top {
		fmt.Println(p.name, p.count, p.bytes, p.slowest)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Fprintf(os.Stderr, "%.3f s, %d cycles\n", took.Seconds(), stats.NumGC)
}
