// parser.go - ../parser.c for Go. Texts are strings, which the bytes of the source are copied to.
package main

import "sync/atomic"

const (
	kindNumber = iota
	kindText
	kindArray
	kindObject
)

type value struct {
	first, next *value
	key, text   string
	number      int64
	kind, count uint32
}

const keepMost = 16

type writer struct {
	text []byte
	rng
}

func (w *writer) put(c byte) { w.text = append(w.text, c) }

func (w *writer) putText(least, most uint64) {
	length := least + w.below(most-least+1)
	w.put('"')
	for i := uint64(0); i < length; i++ {
		w.put(byte('a' + w.below(26)))
	}
	w.put('"')
}

func (w *writer) putNumber(number uint64) {
	var digits [24]byte
	count := 0
	for {
		digits[count] = byte('0' + number%10)
		count++
		number /= 10
		if number == 0 {
			break
		}
	}
	for count > 0 {
		count--
		w.put(digits[count])
	}
}

func (w *writer) putValue(depth uint64) {
	kinds := uint64(2)
	if depth > 0 {
		kinds = 4
	}
	kind := w.below(kinds)
	switch kind {
	case kindNumber:
		w.putNumber(w.below(1000000))
	case kindText:
		w.putText(4, 40)
	default:
		parts := 1 + w.below(6)
		open, close := byte('['), byte(']')
		if kind == kindObject {
			open, close = '{', '}'
		}
		w.put(open)
		for i := uint64(0); i < parts; i++ {
			if i > 0 {
				w.put(',')
			}
			if kind == kindObject {
				w.putText(3, 12)
				w.put(':')
			}
			w.putValue(depth - 1)
		}
		w.put(close)
	}
}

func sourceMake(bytes uint64) []byte {
	w := writer{make([]byte, 0, bytes+1<<20), rngBegin(5)}
	w.put('[')
	for uint64(len(w.text)) < bytes {
		if len(w.text) != 1 {
			w.put(',')
		}
		w.putValue(5)
	}
	w.put(']')
	return w.text
}

type reader struct {
	source []byte
	at     int
	values uint64
}

func (r *reader) readText() string {
	r.at++
	begin := r.at
	for r.source[r.at] != '"' {
		r.at++
	}
	text := string(r.source[begin:r.at])
	r.at++
	return text
}

func (r *reader) readParts(v *value, close byte) {
	var last *value
	for {
		r.at++
		key := ""
		if v.kind == kindObject {
			key = r.readText()
			r.at++
		}
		part := r.readValue()
		part.key = key
		if last != nil {
			last.next = part
		} else {
			v.first = part
		}
		last = part
		v.count++
		if r.source[r.at] == close {
			break
		}
	}
	r.at++
}

func (r *reader) readValue() *value {
	v := new(value)
	r.values++
	switch r.source[r.at] {
	case '"':
		v.kind = kindText
		v.text = r.readText()
	case '[':
		v.kind = kindArray
		r.readParts(v, ']')
	case '{':
		v.kind = kindObject
		r.readParts(v, '}')
	default:
		v.kind = kindNumber
		for r.source[r.at] >= '0' && r.source[r.at] <= '9' {
			v.number = v.number*10 + int64(r.source[r.at]-'0')
			r.at++
		}
	}
	return v
}

func (v *value) sum() uint64 {
	sum := uint64(v.number) + uint64(v.kind) + uint64(v.count)
	if v.key != "" {
		sum += uint64(v.key[0]) + uint64(len(v.key))
	}
	if v.text != "" {
		sum += uint64(v.text[1]) + uint64(len(v.text))
	}
	for part := v.first; part != nil; part = part.next {
		sum += part.sum()
	}
	return sum
}

func main() {
	times := arg("times", 60)
	keep := arg("keep", 2)
	source := sourceMake(arg("mib", 2) << 20)
	count := arg("threads", 2)
	argsEnd()
	var values uint64
	c := begin()
	sum := threads(count, func(number uint64) uint64 {
		var kept [keepMost]*value
		var sum uint64
		for i := uint64(0); i < times; i++ {
			r := reader{source: source}
			v := r.readValue()
			if r.at != len(source) {
				die("the text was not parsed to its end")
			}
			sum += v.sum()
			kept[i%keep] = v
			atomic.AddUint64(&values, r.values)
		}
		for _, v := range kept[:keep] {
			if v != nil {
				sum += uint64(v.count)
			}
		}
		return sum
	})
	c.end(float64(values), sum)
}
