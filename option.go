package gapless

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option describes one declared option. Options are the exported fields of a
// struct, with tags:
//
//	Path   string        `option:"path,required" help:"Folder to read." example:"./docs"`
//	Every  time.Duration `option:"every" default:"5m" help:"How often to look."`
//	Policy string        `option:"symlinks" default:"skip" enum:"skip,follow" help:"..."`
//	Token  Secret        `option:"token" help:"..."`
//
// One declaration gives decoding, validation, defaults, help, the reference
// page and the editor's schema. Field types are string, bool, int, int64,
// float64, [time.Duration], [ByteSize], [Secret], []string and
// map[string]string.
type Option struct {
	Name     string
	Type     string // string, bool, integer, number, duration, size, secret, list, map
	Help     string
	Default  string
	Example  string
	Enum     []string
	Required bool
}

// Secret is an option whose value never appears in logs, plans, errors or
// pages. Configurations refer to it by ${NAME} or file:PATH.
type Secret string

const redacted = "[redacted]"

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value.
func (Secret) GoString() string { return redacted }

// MarshalText hides the value.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue hides the value.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Reveal returns the value, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// ByteSize is a number of bytes, written as 512, 64KiB, 8MiB, 1GiB, 10MB.
type ByteSize int64

// String returns the size in the largest binary unit that divides it.
func (s ByteSize) String() string {
	for _, u := range byteUnits {
		if s != 0 && u.binary && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

var byteUnits = []struct {
	name   string
	size   int64
	binary bool
}{
	{"TiB", 1 << 40, true},
	{"GiB", 1 << 30, true},
	{"MiB", 1 << 20, true},
	{"KiB", 1 << 10, true},
	{"TB", 1e12, false},
	{"GB", 1e9, false},
	{"MB", 1e6, false},
	{"kB", 1e3, false},
	{"KB", 1e3, false},
	{"B", 1, false},
}

// ParseByteSize reads a size such as 64KiB.
func ParseByteSize(s string) (ByteSize, error) {
	unit := int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("want a size such as 512, 64KiB or 8MiB, not %q", s)
	}
	return ByteSize(n * unit), nil
}

// OptionError is one mistake in the values of options.
type OptionError struct {
	// Option is the name as written; Key the element within a map.
	Option  string
	Problem string
	// Fix says what to write instead; may be empty.
	Fix  string
	Code Code
}

// Error returns option, problem and fix on one line.
func (e OptionError) Error() string {
	if e.Fix == "" {
		return fmt.Sprintf("option %s: %s", e.Option, e.Problem)
	}
	return fmt.Sprintf("option %s: %s; %s", e.Option, e.Problem, e.Fix)
}

// DescribeOptions lists the options that the struct behind pointer declares.
// It panics on a declaration that cannot work, which a test of the catalogue
// finds.
func DescribeOptions(pointer any) []Option {
	t := reflect.TypeOf(pointer).Elem()
	var list []Option
	for f := range t.Fields() {
		tag, ok := f.Tag.Lookup("option")
		if !ok {
			continue
		}
		name, flag, _ := strings.Cut(tag, ",")
		o := Option{Name: name, Type: optionType(f.Type), Required: flag == "required"}
		o.Help, o.Default, o.Example = f.Tag.Get("help"), f.Tag.Get("default"), f.Tag.Get("example")
		if enum := f.Tag.Get("enum"); enum != "" {
			o.Enum = strings.Split(enum, ",")
		}
		if o.Type == "" || o.Help == "" {
			panic(fmt.Sprintf("option %s of %s: unusable type %s or no help", name, t, f.Type))
		}
		list = append(list, o)
	}
	return list
}

func optionType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[ByteSize]():
		return "size"
	case reflect.TypeFor[Secret]():
		return "secret"
	case reflect.TypeFor[[]string]():
		return "list"
	case reflect.TypeFor[map[string]string]():
		return "map"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	}
	return ""
}

// DecodeOptions fills the struct behind pointer from values as a
// configuration gives them (string, bool, int64, uint64, float64, []any,
// map[string]any), applies defaults, and returns every mistake.
func DecodeOptions(pointer any, values map[string]any) []OptionError {
	v := reflect.ValueOf(pointer).Elem()
	options := DescribeOptions(pointer)
	var mistakes []OptionError
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	for name := range values {
		if !slices.Contains(names, name) {
			mistakes = append(mistakes, OptionError{Option: name, Problem: "is not known", Fix: DidYouMean(name, names), Code: CodeUnknownOption})
		}
	}
	for i, f := 0, 0; f < v.NumField(); f++ {
		if _, ok := v.Type().Field(f).Tag.Lookup("option"); !ok {
			continue
		}
		if m, ok := decodeOption(v.Field(f), options[i], values); !ok {
			mistakes = append(mistakes, m)
		}
		i++
	}
	slices.SortStableFunc(mistakes, func(a, b OptionError) int { return strings.Compare(a.Option, b.Option) })
	return mistakes
}

func decodeOption(field reflect.Value, o Option, values map[string]any) (OptionError, bool) {
	value, given := values[o.Name]
	if !given || value == nil {
		if o.Required {
			fix := ""
			if o.Example != "" {
				fix = "for example " + o.Name + ": " + o.Example
			}
			return OptionError{Option: o.Name, Problem: "is required", Fix: fix, Code: CodeMissingOption}, false
		}
		if o.Default == "" {
			return OptionError{}, true
		}
		value = o.Default
		if o.Type == "list" {
			value = splitList(o.Default)
		}
	}
	if err := setOption(field, o.Type, value); err != nil {
		return OptionError{Option: o.Name, Problem: err.Error(), Code: CodeInvalidOption}, false
	}
	if len(o.Enum) > 0 && !slices.Contains(o.Enum, fmt.Sprint(field.Interface())) {
		return OptionError{
			Option: o.Name, Problem: fmt.Sprintf("%q is not one of %s", field.Interface(), strings.Join(o.Enum, ", ")),
			Fix: DidYouMean(fmt.Sprint(field.Interface()), o.Enum), Code: CodeInvalidOption,
		}, false
	}
	return OptionError{}, true
}

func splitList(s string) []any {
	var list []any
	for part := range strings.SplitSeq(s, ",") {
		list = append(list, part)
	}
	return list
}

func setOption(field reflect.Value, kind string, value any) error {
	switch kind {
	case "list":
		return setList(field, value)
	case "map":
		return setMap(field, value)
	}
	text, err := scalarText(value)
	if err != nil {
		return err
	}
	switch kind {
	case "string", "secret":
		field.SetString(text)
	case "bool":
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("want true or false, not %q", text)
		}
		field.SetBool(b)
	case "integer":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("want a whole number, not %q", text)
		}
		field.SetInt(n)
	case "number":
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("want a number, not %q", text)
		}
		field.SetFloat(x)
	case "duration":
		d, err := parseDuration(text)
		if err != nil || d < 0 {
			return fmt.Errorf("want a duration such as 30s, 5m or 24h, not %q", text)
		}
		field.SetInt(int64(d))
	case "size":
		n, err := ParseByteSize(text)
		if err != nil {
			return err
		}
		field.SetInt(int64(n))
	}
	return nil
}

// parseDuration is [time.ParseDuration] that knows days, as in 7d or 1d12h.
func parseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil || rest == "" {
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(rest)
	return time.Duration(n)*24*time.Hour + d, err
}

func scalarText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64:
		return fmt.Sprint(v), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return "", fmt.Errorf("want a single value, not %s", shapeOf(value))
}

func setList(field reflect.Value, value any) error {
	items, ok := value.([]any)
	if !ok {
		items = []any{value}
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		text, err := scalarText(item)
		if err != nil {
			return err
		}
		list = append(list, text)
	}
	field.Set(reflect.ValueOf(list))
	return nil
}

func setMap(field reflect.Value, value any) error {
	items, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("want names with values, not %s", shapeOf(value))
	}
	m := make(map[string]string, len(items))
	for k, item := range items {
		text, err := scalarText(item)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		m[k] = text
	}
	field.Set(reflect.ValueOf(m))
	return nil
}

func shapeOf(value any) string {
	switch value.(type) {
	case []any:
		return "a list"
	case map[string]any:
		return "a block"
	}
	return "a single value"
}

// DidYouMean returns "did you mean X?" for the closest of names, or "".
func DidYouMean(name string, names []string) string {
	best, distance := "", 1+len(name)/3
	for _, n := range names {
		if d := editDistance(name, n); d <= distance && (best == "" || d < distance) {
			best, distance = n, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
