package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/gapless-sync/gapless"
)

const mask = "***"

// words are the keys that may occur in a configuration, as far as masking
// needs to know them.
type words struct {
	all    []string
	secret []string
}

func wordsOf(connectors []gapless.Connector) words {
	w := words{all: slices.Concat(topKeys, connectorKeys)}
	for _, o := range gapless.DescribeOptions(new(resolving)) {
		w.all = append(w.all, o.Name)
	}
	for _, c := range connectors {
		for _, o := range slices.Concat(sourceOptions(c), destinationOptions(c)) {
			w.all = append(w.all, o.Name)
			if o.Type == "secret" {
				w.secret = append(w.secret, o.Name)
			}
		}
	}
	return w
}

var (
	// looksSecret finds names of secrets that nobody declared.
	looksSecret = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?$|secret|token$|credential|api[-_]?key|private[-_]?key|bearer)`)
	// keyInLine finds keys in a line that may not even be YAML.
	keyInLine = regexp.MustCompile(`([\pL\pN_.-]+)(?:["']\s*:\s*|\s*:(?:\s+|$))`)
	// userinfo finds a password in a URL.
	userinfo = regexp.MustCompile(`(://[^/\s:@"']*:)[^/\s@"']+@`)
	// reference is a secret's value that only says where the secret is.
	reference = regexp.MustCompile(`^["']?(\$\{\w+\}|file:[^\s{}"']+)["']?\s*[,}]*\s*$`)
)

// declares reports whether a key is a declared secret or most likely a
// misspelt one.
func (w words) declares(key string) bool {
	if slices.Contains(w.secret, key) {
		return true
	}
	if slices.Contains(w.all, key) {
		return false
	}
	meant := gapless.DidYouMean(key, w.all)
	return slices.ContainsFunc(w.secret, func(s string) bool { return meant == gapless.DidYouMean(s, []string{s}) })
}

// maxShownLine is the longest line, in bytes, that an excerpt is cut from.
const maxShownLine = 2000

// shown returns line i without the values of secrets, so that no excerpt shows
// one. It works on text, because a line with a mistake has no syntax tree:
// rather too much is hidden than too little. References such as ${TOKEN} and
// file:token are shown.
func (w words) shown(lines []string, i int) string {
	line := lines[i]
	if len(line) > maxShownLine {
		return ""
	}
	indent := indentOf(line)
	if w.insideSecret(lines, i) {
		return line[:indent] + mask
	}
	if from := w.secretIn(line, lines[i+1:]); from >= 0 && from < len(line) {
		line = line[:from] + mask
	}
	return hideUserinfo(line)
}

// insideSecret reports whether line i is below the key of a secret, by
// indentation.
func (w words) insideSecret(lines []string, i int) bool {
	indent := indentOf(lines[i])
	for j := i - 1; j >= 0 && indent > 0; j-- {
		above := lines[j]
		text := strings.TrimSpace(above)
		if text == "" || text[0] == '#' || indentOf(above) >= indent {
			continue
		}
		indent = indentOf(above)
		if len(above) > maxShownLine || w.secretIn(above, lines[j+1:]) >= 0 {
			return true
		}
	}
	return false
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// secretIn returns where the value of a secret begins in line, or -1.
func (w words) secretIn(line string, below []string) int {
	for _, m := range keyInLine.FindAllStringSubmatchIndex(line, -1) {
		key, value := line[m[2]:m[3]], strings.TrimSpace(line[m[1]:])
		declared := w.declares(key)
		if !declared && !looksSecret.MatchString(key) || reference.MatchString(value) {
			continue
		}
		if !declared && value == "" && opensBlock(below) {
			continue // such as a connector named my-token
		}
		return m[1]
	}
	return -1
}

// opensBlock reports whether the first of lines that is not blank has a key.
func opensBlock(lines []string) bool {
	i := slices.IndexFunc(lines, func(line string) bool { return strings.TrimSpace(line) != "" })
	return i >= 0 && keyInLine.MatchString(lines[i])
}

// hideUserinfo hides passwords in URLs.
func hideUserinfo(text string) string {
	return userinfo.ReplaceAllString(text, "${1}"+mask+"@")
}
