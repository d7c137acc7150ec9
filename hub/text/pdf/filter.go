package pdf

import (
	"bytes"
	"compress/flate"
	"encoding/ascii85"
	"io"
)

// unpack returns what a stream holds. As much is returned as can be unpacked;
// nothing if it is packed in a way that text never is.
func (f *file) unpack(s *stream) []byte {
	filters, settings := f.list(s.dict["Filter"]), f.list(s.dict["DecodeParms"])
	data := s.packed
	if len(filters) == 0 && !f.budget.unpack(len(data)) {
		return nil
	}
	for i, filter := range filters[:min(len(filters), 8)] {
		switch f.name(filter) {
		case "FlateDecode":
			data = f.inflate(data)
		case "LZWDecode":
			data = f.lzw(data)
		case "ASCIIHexDecode":
			end, _, _ := bytes.Cut(data, []byte(">"))
			data = unhex(end)
		case "ASCII85Decode":
			data = unbase85(data)
		case "RunLengthDecode":
			data = f.runs(data)
		default:
			return nil
		}
		if i < len(settings) {
			data = f.unpredict(data, f.dict(settings[i]))
		}
	}
	if f.budget.err != nil {
		return nil
	}
	return data
}

// list returns an array, or one with the object itself.
func (f *file) list(o object) array {
	switch o := f.resolve(o).(type) {
	case nil:
		return nil
	case array:
		return o
	default:
		return array{o}
	}
}

// inflate does without the checksum: text up to a damaged place is text.
func (f *file) inflate(packed []byte) []byte {
	if len(packed) < 2 {
		return nil
	}
	var data []byte
	chunk := make([]byte, 32<<10)
	for r := flate.NewReader(bytes.NewReader(packed[2:])); ; {
		n, err := r.Read(chunk)
		if !f.budget.unpack(n) {
			return nil
		}
		if data = append(data, chunk[:n]...); err != nil {
			return data
		}
	}
}

func unbase85(text []byte) []byte {
	text, _, _ = bytes.Cut(text, []byte("~"))
	r := ascii85.NewDecoder(bytes.NewReader(text))
	data, err := io.ReadAll(io.LimitReader(r, int64(4*len(text))))
	if err != nil {
		return data // up to the damaged place
	}
	return data
}

func (f *file) runs(packed []byte) (data []byte) {
	for len(packed) > 1 && packed[0] != 128 {
		n := int(packed[0])
		if packed = packed[1:]; n < 128 {
			n = min(n+1, len(packed))
			data, packed = append(data, packed[:n]...), packed[n:]
		} else {
			n = 257 - n
			data, packed = append(data, bytes.Repeat(packed[:1], n)...), packed[1:]
		}
		if !f.budget.unpack(n) {
			return nil
		}
	}
	return data
}

const (
	lzwClear = 256
	lzwEnd   = 257
	lzwCodes = 4096
)

// lzw is that of TIFF: codes from the highest bit, which grow one code early.
func (f *file) lzw(packed []byte) (data []byte) {
	var start, length [lzwCodes]int // of each code's bytes in data
	next, width := lzwEnd+1, 9
	bits, have := 0, 0
	last := -1
	for _, c := range packed {
		bits, have = bits<<8|int(c), have+8
		if have < width {
			continue
		}
		have -= width
		code := bits >> have
		bits &= 1<<have - 1
		at := len(data)
		switch {
		case code == lzwEnd:
			return data
		case code == lzwClear:
			next, width, last = lzwEnd+1, 9, -1
			continue
		case code < lzwClear:
			data = append(data, byte(code))
		case code < next:
			data = append(data, data[start[code]:start[code]+length[code]]...)
		case code == next && last >= 0:
			data = append(data, data[last:at]...)
			data = append(data, data[last])
		default:
			return data
		}
		if !f.budget.unpack(len(data) - at) {
			return nil
		}
		if last >= 0 && next < lzwCodes {
			start[next], length[next] = last, at-last+1
			next++
		}
		last = at
		for width < 12 && next+1 >= 1<<width {
			width++
		}
	}
	return data
}

// unpredict undoes what PNG does to rows of bytes before it packs them.
func (f *file) unpredict(data []byte, settings dict) []byte {
	if f.integer(settings["Predictor"]) < 10 {
		return data
	}
	sample := func(key name, usual int) int {
		if n := f.integer(settings[key]); n > 0 && n <= 1<<16 {
			return n
		}
		return usual
	}
	bits := sample("Colors", 1) * sample("BitsPerComponent", 8)
	pixel, row := max(bits/8, 1), (bits*sample("Columns", 1)+7)/8
	var plain []byte
	above := make([]byte, min(row, len(data)))
	for len(data) > 1 {
		kind := data[0]
		line := bytes.Clone(data[1:min(len(data), row+1)])
		data = data[1+len(line):]
		unfilter(kind, line, above, pixel)
		plain, above = append(plain, line...), line
		if len(line) < row {
			break
		}
	}
	return plain
}

// unfilter undoes one of the filters of PNG on a row.
func unfilter(kind byte, line, above []byte, pixel int) {
	for i := range line {
		var left, up, corner int
		if up = int(above[i]); i >= pixel {
			left, corner = int(line[i-pixel]), int(above[i-pixel])
		}
		switch kind {
		case 1:
			line[i] += byte(left)
		case 2:
			line[i] += byte(up)
		case 3:
			line[i] += byte((left + up) / 2)
		case 4:
			line[i] += byte(paeth(left, up, corner))
		}
	}
}

func paeth(left, up, corner int) int {
	p := left + up - corner
	a, b, c := distance(p, left), distance(p, up), distance(p, corner)
	switch {
	case a <= b && a <= c:
		return left
	case b <= c:
		return up
	}
	return corner
}

func distance(a, b int) int { return max(a-b, b-a) }
