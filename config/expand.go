package config

import "strings"

// Lookup finds the value of an environment variable; [os.LookupEnv] is one.
type Lookup = func(name string) (value string, found bool)

// mistake is what is wrong with a value, and what to write instead.
type mistake struct{ message, fix string }

// expansion is a value with its references resolved.
type expansion struct {
	text string
	// references counts the ${...} outside of other references.
	references int
	// environment reports that a part of text came from the environment, and
	// must not be shown.
	environment bool
	// literalDefault reports that a default holds text of its own.
	literalDefault bool
}

const maxExpansionDepth = 20

// expand resolves ${NAME} and ${NAME:-default} in text. A default applies
// where the variable is not set or empty, and may hold references itself. $$
// stands for $; any other $ is itself.
func expand(text string, lookup Lookup) (expansion, *mistake) {
	var e expansion
	bad := e.expand(text, lookup, 0)
	return e, bad
}

func (e *expansion) expand(text string, lookup Lookup, depth int) *mistake {
	if depth > maxExpansionDepth {
		return &mistake{"defaults are nested too deeply", "simplify them"}
	}
	var out strings.Builder
	defer func() { e.text += out.String() }()
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if before != "" && depth > 0 {
			e.literalDefault = true
		}
		switch {
		case !found:
			return nil
		case strings.HasPrefix(rest, "{"):
			end := closing(rest)
			if end < 0 {
				return &mistake{"a reference is never closed", "add the missing }, or write $$ for a dollar sign"}
			}
			value, bad := e.reference(rest[1:end], lookup, depth)
			if bad != nil {
				return bad
			}
			out.WriteString(value)
			text = rest[end+1:]
		default:
			out.WriteByte('$')
			e.literalDefault = e.literalDefault || depth > 0
			text = strings.TrimPrefix(rest, "$")
		}
	}
}

// reference resolves what stands between the braces.
func (e *expansion) reference(inner string, lookup Lookup, depth int) (string, *mistake) {
	name, fallback, hasDefault := strings.Cut(inner, ":-")
	if !isName(name) {
		return "", &mistake{"what is between the braces of a reference names no variable", "write ${NAME}, ${NAME:-default}, or $$ for a dollar sign"}
	}
	if depth == 0 {
		e.references++
	}
	value, set := lookup(name)
	if value != "" || set && !hasDefault {
		e.environment = true
	} else if !hasDefault {
		return "", &mistake{"${" + name + "} is not set", "set it in the environment, or write ${" + name + ":-default}"}
	}
	if !hasDefault {
		return value, nil
	}
	if value != "" { // the default is unused, but has to be well-formed
		lookup = func(string) (string, bool) { return "", true }
	}
	var d expansion
	if bad := d.expand(fallback, lookup, depth+1); bad != nil {
		return "", bad
	}
	e.literalDefault = e.literalDefault || d.literalDefault
	if value != "" {
		return value, nil
	}
	e.environment = e.environment || d.environment
	return d.text, nil
}

// closing returns the index of the brace that closes the one text begins
// with, or -1.
func closing(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "$$"):
			i++
		case i == 0, strings.HasPrefix(text[i:], "${"):
			depth++
		case text[i] == '}':
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func isName(s string) bool {
	for i, c := range s {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
