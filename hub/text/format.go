package text

import (
	"bytes"
	"mime"
	"net/http"
	"path"
	"strings"
)

// format is a way to read contents.
type format struct {
	name string
	// whole says that the start of a content is of no use without the rest.
	whole bool
	read  func(w *work, content []byte, charset string) error
}

// unspecific media types say nothing about the format.
func unspecific(media string) bool {
	switch media {
	case "", "application/octet-stream", "binary/octet-stream", "application/x-binary", "application/unknown",
		"application/zip", "application/x-zip-compressed", "application/download", "application/force-download":
		return true
	}
	return false
}

// ofType returns the format of a media type; nil if there is no text in it.
func ofType(media string) *format {
	switch {
	case media == "text/html", media == "application/xhtml+xml":
		return &format{name: "HTML", read: readHTML}
	case media == "text/xml", media == "application/xml", strings.HasSuffix(media, "+xml"):
		return &format{name: "XML", read: readXML}
	case media == "application/json", strings.HasSuffix(media, "+json"), media == "application/x-ndjson", media == "text/json":
		return &format{name: "JSON", read: readJSON}
	case media == "application/rtf", media == "text/rtf":
		return &format{name: "RTF document", read: readRTF}
	case media == "application/pdf", media == "application/x-pdf":
		return &format{name: "PDF", whole: true, read: readPDF}
	case isOffice(media):
		return &format{name: "office document", whole: true, read: readOffice}
	case strings.HasPrefix(media, "text/"):
		return &format{name: "text", read: readPlain}
	}
	switch media {
	case "application/javascript", "application/yaml", "application/x-yaml", "application/toml", "application/sql", "application/csv":
		return &format{name: "text", read: readPlain}
	}
	return nil
}

// isOffice knows Office Open XML, with macros and without, and OpenDocument.
func isOffice(media string) bool {
	for _, prefix := range []string{
		"application/vnd.openxmlformats-officedocument.wordprocessingml.",
		"application/vnd.openxmlformats-officedocument.spreadsheetml.",
		"application/vnd.openxmlformats-officedocument.presentationml.",
		"application/vnd.oasis.opendocument.text",
		"application/vnd.oasis.opendocument.spreadsheet",
		"application/vnd.oasis.opendocument.presentation",
	} {
		if strings.HasPrefix(media, prefix) {
			return true
		}
	}
	return strings.HasPrefix(media, "application/vnd.ms-") && strings.HasSuffix(media, ".macroenabled.12")
}

// ofName returns the media type for a file's extension; "" for an unknown one.
func ofName(name string) string {
	switch strings.ToLower(strings.TrimPrefix(path.Ext(strings.ReplaceAll(name, `\`, "/")), ".")) {
	case "txt", "text", "log", "md", "markdown", "csv", "tsv", "ini", "cfg", "conf", "properties", "yaml", "yml", "toml", "sql", "rst", "tex", "eml":
		return "text/plain"
	case "html", "htm", "xhtml":
		return "text/html"
	case "xml", "xsd", "xsl", "svg", "rss", "atom":
		return "text/xml"
	case "json", "jsonl", "ndjson", "geojson":
		return "application/json"
	case "rtf":
		return "application/rtf"
	case "pdf":
		return "application/pdf"
	case "docx", "docm", "dotx", "dotm":
		return "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	case "xlsx", "xlsm", "xltx", "xltm":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case "pptx", "pptm", "potx", "potm", "ppsx", "ppsm":
		return "application/vnd.openxmlformats-officedocument.presentationml.presentation"
	case "odt", "ott", "ods", "ots", "odp", "otp":
		return "application/vnd.oasis.opendocument.text"
	}
	return ""
}

// sniffBytes is how much of a content its format is guessed from.
const sniffBytes = 512

// sniff returns the media type that a content begins like. Text is called
// text/plain, and application/octet-stream is anything.
func sniff(head []byte) string {
	head = head[:min(len(head), sniffBytes)]
	switch {
	case bytes.HasPrefix(head, []byte(`{\rtf`)):
		return "application/rtf"
	case bytes.HasPrefix(head, []byte("%PDF-")):
		return "application/pdf"
	}
	media, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if isBinary(head) || strings.HasPrefix(media, "text/") {
		return media
	}
	return "text/plain" // which may begin like the name of a binary format
}

// isBinary reports whether there are characters that text has none of.
func isBinary(head []byte) bool {
	if boms, _ := byteOrder(head); boms != "" {
		return false
	}
	return bytes.ContainsFunc(head, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' && r != '\f' && r != '\b' && r != 0x1b
	})
}

// mediaType returns the media type in lower case without its parameters, and
// those.
func (c *Content) mediaType() (string, map[string]string) {
	media, parameters, err := mime.ParseMediaType(c.Type)
	if err != nil {
		media, _, _ = strings.Cut(c.Type, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media, parameters
}

func (c *Content) charset() string {
	_, parameters := c.mediaType()
	return strings.ToLower(parameters["charset"])
}

// declared returns the format that the media type says, or else a name; nil if
// the content itself has to tell.
func (c *Content) declared() (*format, error) {
	media, parameters := c.mediaType()
	if unspecific(media) {
		media = ""
		for _, name := range append([]string{parameters["name"]}, c.Names...) {
			if media = ofName(name); media != "" {
				break
			}
		}
		if media == "" {
			return nil, nil
		}
	}
	f := ofType(media)
	if f == nil {
		return nil, reasonf("no text in media type %s", clip(media))
	}
	return f, nil
}

// format returns how to read a content that begins with head. What is said to
// be text but begins like something else is read as that.
func (c *Content) format(head []byte) (*format, error) {
	declared, err := c.declared()
	if err != nil || declared != nil && (declared.whole || strings.HasPrefix(c.charset(), "utf-16")) {
		return declared, err
	}
	found := sniff(head)
	if declared != nil && strings.HasPrefix(found, "text/") {
		return declared, nil
	}
	f := ofType(found)
	switch {
	case found == "application/zip":
		return &format{name: "archive", whole: true, read: readOffice}, nil
	case f != nil:
		return f, nil
	case found == "application/octet-stream" && declared != nil:
		return nil, reasonf("it is said to be %s, but is binary", declared.name)
	case found == "application/octet-stream":
		return nil, Reason("neither its media type, nor its name, nor how it begins says what it is")
	}
	return nil, reasonf("no text in media type %s", found)
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
