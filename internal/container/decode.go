package container

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decode is json.Unmarshal into a zero value of v's type.
//
// Before its first value, encoding/json builds tables for every type that can
// be reached, writers included: half a millisecond for a spec, of which a
// program that reads one spec in its life uses little. So plain documents are
// read here. Whatever is not plain, and every error, is left to encoding/json:
// a key written in other letters or twice, half of a surrogate pair, a type with
// methods of its own.
func decode(b []byte, v any) error {
	to := reflect.ValueOf(v).Elem()
	to.SetZero()
	d := decoder{b: b, types: make(map[reflect.Type][]field, 32)}
	if d.value(to, 0) && d.next() == 0 && d.at == len(b) {
		return nil
	}
	to.SetZero()
	return json.Unmarshal(b, v)
}

// decoder reads a document. Its methods return false where it is not plain.
type decoder struct {
	b     []byte
	at    int
	types map[reflect.Type][]field
}

// field is a field of a struct and its key.
type field struct {
	key   string
	index int
}

// maxNesting is the depth of the deepest document that is plain.
const maxNesting = 100

// next skips white space and returns the byte there, 0 at the end.
func (d *decoder) next() byte {
	for d.at < len(d.b) {
		switch c := d.b[d.at]; c {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return c
		}
	}
	return 0
}

// take skips white space and then c.
func (d *decoder) take(c byte) bool {
	if d.next() != c {
		return false
	}
	d.at++
	return true
}

func (d *decoder) word(w string) bool {
	if !strings.HasPrefix(string(d.b[d.at:min(len(d.b), d.at+len(w))]), w) {
		return false
	}
	d.at += len(w)
	return true
}

// value reads the next value into to, which is zero.
func (d *decoder) value(to reflect.Value, depth int) bool {
	if depth > maxNesting {
		return false
	}
	c := d.next()
	if c == 'n' {
		return d.word("null")
	}
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return d.value(to.Elem(), depth+1)
	case reflect.Struct:
		return c == '{' && d.object(to, depth)
	case reflect.Map:
		return c == '{' && d.mapping(to, depth)
	case reflect.Slice:
		return c == '[' && d.slice(to, depth)
	}
	if own(to.Type()) {
		return false
	}
	switch to.Kind() {
	case reflect.String:
		s, ok := d.text()
		to.SetString(s)
		return ok
	case reflect.Bool:
		to.SetBool(c == 't')
		return c == 't' && d.word("true") || c == 'f' && d.word("false")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(d.integer(), 10, to.Type().Bits())
		to.SetInt(n)
		return err == nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(d.integer(), 10, to.Type().Bits())
		to.SetUint(n)
		return err == nil
	}
	return false
}

// own tells whether a type reads itself.
func own(t reflect.Type) bool {
	if t.PkgPath() == "" {
		return false // has no methods
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// integer returns a number without fraction and exponent; "" is none.
func (d *decoder) integer() string {
	from := d.at
	if d.at < len(d.b) && d.b[d.at] == '-' {
		d.at++
	}
	digits := d.at
	for d.at < len(d.b) && '0' <= d.b[d.at] && d.b[d.at] <= '9' {
		d.at++
	}
	if d.at == digits || d.b[digits] == '0' && d.at > digits+1 {
		return ""
	}
	if d.at < len(d.b) && (d.b[d.at] == '.' || d.b[d.at] == 'e' || d.b[d.at] == 'E') {
		return ""
	}
	return string(d.b[from:d.at])
}

// text reads a string.
func (d *decoder) text() (string, bool) {
	if !d.take('"') {
		return "", false
	}
	from := d.at
	for ; d.at < len(d.b); d.at++ {
		switch c := d.b[d.at]; {
		case c == '"':
			s := string(d.b[from:d.at])
			d.at++
			return s, utf8.ValidString(s)
		case c == '\\':
			return d.escaped(from)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped reads the rest of a string that began at from, and has a backslash now.
func (d *decoder) escaped(from int) (string, bool) {
	s := append([]byte(nil), d.b[from:d.at]...)
	for d.at < len(d.b) {
		c := d.b[d.at]
		d.at++
		switch {
		case c == '"':
			return string(s), utf8.Valid(s)
		case c < ' ':
			return "", false
		case c != '\\':
			s = append(s, c)
			continue
		}
		if d.at == len(d.b) {
			return "", false
		}
		c = d.b[d.at]
		d.at++
		if c == 'u' {
			if d.at+4 > len(d.b) {
				return "", false
			}
			n, err := strconv.ParseUint(string(d.b[d.at:d.at+4]), 16, 16)
			if err != nil || !utf8.ValidRune(rune(n)) {
				return "", false
			}
			d.at += 4
			s = utf8.AppendRune(s, rune(n))
			continue
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return "", false
		}
		s = append(s, "\"\\/\b\f\n\r\t"[i])
	}
	return "", false
}

// members calls each with the key of every member of an object; each reads its value.
func (d *decoder) members(each func(key string) bool) bool {
	d.at++ // the brace
	if d.take('}') {
		return true
	}
	for {
		d.next()
		key, ok := d.text()
		if !ok || !d.take(':') || !each(key) {
			return false
		}
		if !d.take(',') {
			return d.take('}')
		}
	}
}

// object reads an object into a struct.
func (d *decoder) object(to reflect.Value, depth int) bool {
	fields, ok := d.fields(to.Type())
	if !ok {
		return false
	}
	seen := uint64(0)
	return d.members(func(key string) bool {
		for i, f := range fields {
			if f.key == key {
				twice := seen&(1<<i) != 0 // the second one would be merged into the first
				seen |= 1 << i
				return !twice && d.value(to.Field(f.index), depth+1)
			}
		}
		for _, f := range fields {
			if strings.EqualFold(f.key, key) {
				return false
			}
		}
		return d.skip(depth + 1)
	})
}

// fields lists the fields of a struct, as its tags say.
func (d *decoder) fields(t reflect.Type) ([]field, bool) {
	if list, ok := d.types[t]; ok {
		return list, len(list) > 0
	}
	d.types[t] = nil // until it is known to be plain
	if own(t) || t.NumField() > 64 {
		return nil, false
	}
	list := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous {
			return nil, false
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		key, options, _ := strings.Cut(tag, ",")
		if key == "" || options != "" && options != "omitempty" || strings.ContainsFunc(key, notLetter) {
			return nil, false
		}
		for _, other := range list {
			if other.key == key {
				return nil, false
			}
		}
		list = append(list, field{key, i})
	}
	d.types[t] = list
	return list, len(list) > 0
}

func notLetter(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// mapping reads an object into a map by strings.
func (d *decoder) mapping(to reflect.Value, depth int) bool {
	t := to.Type()
	if t.Key().Kind() != reflect.String || own(t.Key()) || own(t) {
		return false
	}
	m := reflect.MakeMap(t)
	to.Set(m)
	return d.members(func(key string) bool {
		v := reflect.New(t.Elem()).Elem()
		if !d.value(v, depth+1) {
			return false
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), v)
		return true
	})
}

// slice reads an array.
func (d *decoder) slice(to reflect.Value, depth int) bool {
	t := to.Type()
	if t.Elem().Kind() == reflect.Uint8 || own(t) {
		return false
	}
	d.at++ // the bracket
	to.Set(reflect.MakeSlice(t, 0, 0))
	if d.take(']') {
		return true
	}
	for n := 0; ; n++ {
		if n == to.Cap() {
			to.Grow(max(4, n))
		}
		to.SetLen(n + 1)
		if !d.value(to.Index(n), depth+1) {
			return false
		}
		if !d.take(',') {
			return d.take(']')
		}
	}
}

// skip reads over a value that nobody wants.
func (d *decoder) skip(depth int) bool {
	if depth > maxNesting {
		return false
	}
	switch c := d.next(); c {
	case '{':
		return d.members(func(string) bool { return d.skip(depth + 1) })
	case '[':
		d.at++
		if d.take(']') {
			return true
		}
		for {
			if !d.skip(depth + 1) {
				return false
			}
			if !d.take(',') {
				return d.take(']')
			}
		}
	case '"':
		_, ok := d.text()
		return ok
	case 't':
		return d.word("true")
	case 'f':
		return d.word("false")
	case 'n':
		return d.word("null")
	}
	return d.integer() != ""
}
