package files

import "strings"

// mediaTypes is our own table so that a record looks the same on every
// machine, whatever that machine's registry of types says.
var mediaTypes = map[string]string{
	".md": "text/markdown", ".markdown": "text/markdown", ".mdx": "text/markdown",
	".html": "text/html", ".htm": "text/html", ".xhtml": "application/xhtml+xml",
	".txt": "text/plain", ".text": "text/plain", ".log": "text/plain", ".rst": "text/x-rst",
	".adoc": "text/asciidoc", ".tex": "text/x-tex", ".csv": "text/csv", ".tsv": "text/tab-separated-values",
	".go": "text/x-go", ".mod": "text/plain", ".sum": "text/plain", ".c": "text/x-c", ".h": "text/x-c",
	".cc": "text/x-c++", ".cpp": "text/x-c++", ".hpp": "text/x-c++", ".s": "text/x-asm",
	".py": "text/x-python", ".rs": "text/x-rust", ".java": "text/x-java", ".kt": "text/x-kotlin",
	".rb": "text/x-ruby", ".php": "text/x-php", ".pl": "text/x-perl", ".lua": "text/x-lua",
	".sh": "text/x-shellscript", ".bash": "text/x-shellscript", ".ps1": "text/x-powershell", ".bat": "text/x-bat",
	".sql": "text/x-sql", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript",
	".ts": "text/x-typescript", ".tsx": "text/x-typescript", ".jsx": "text/javascript",
	".json": "application/json", ".jsonl": "application/jsonl", ".ndjson": "application/jsonl",
	".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml", ".ini": "text/plain",
	".cfg": "text/plain", ".conf": "text/plain", ".xml": "application/xml", ".proto": "text/plain", ".tmpl": "text/plain",
	".pdf": "application/pdf", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
	".webp": "image/webp", ".svg": "image/svg+xml", ".ico": "image/x-icon", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".zip": "application/zip", ".gz": "application/gzip", ".zst": "application/zstd", ".tar": "application/x-tar",
	".doc": "application/msword", ".rtf": "application/rtf", ".odt": "application/vnd.oasis.opendocument.text",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}

// plainNames are names without an extension that are text by convention.
var plainNames = map[string]bool{
	"README": true, "LICENSE": true, "NOTICE": true, "COPYING": true, "AUTHORS": true, "CONTRIBUTORS": true,
	"CHANGELOG": true, "CONTRIBUTING": true, "PATENTS": true, "VERSION": true, "TODO": true,
	"Makefile": true, "Dockerfile": true, ".gitignore": true, ".gitattributes": true,
}

// extension returns the extension of a file name as written, with its dot. A
// leading dot starts no extension.
func extension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[i:]
	}
	return ""
}

// mediaType returns the media type that a file name stands for; empty if
// unknown.
func mediaType(name, ext string) string {
	if plainNames[name] {
		return "text/plain"
	}
	if t, ok := mediaTypes[ext]; ok {
		return t
	}
	return mediaTypes[strings.ToLower(ext)]
}
