package pushapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Command is the last segment of a request's path.
type Command string

// The commands.
const (
	CommandPing                Command = "ping"
	CommandSession             Command = "get_current_session_id"
	CommandAdd                 Command = "add_documents"
	CommandUpdate              Command = "update_documents"
	CommandDelete              Command = "delete_documents"
	CommandDeleteRootPath      Command = "delete_documents_root_path"
	CommandDeletePrefix        Command = "delete_documents_with_prefix"
	CommandStatus              Command = "get_documents_status"
	CommandSetCheckpoint       Command = "set_checkpoint"
	CommandGetCheckpoint       Command = "get_checkpoint"
	CommandGetCheckpointInfo   Command = "get_checkpoint_info"
	CommandClearCheckpoints    Command = "clear_all_checkpoints"
	CommandCheckpoints         Command = "enumerate_checkpoints_info"
	CommandStatedCheckpoints   Command = "enumerate_stated_checkpoints_info"
	CommandEnumerate           Command = "enumerate_synced_entries"
	CommandCount               Command = "count_synced_entries"
	CommandSync                Command = "sync"
	CommandTriggerIndexing     Command = "trigger_indexing_job"
	CommandSearchable          Command = "are_documents_searchable"
	commandCountLegacy         Command = "counted_synced_entries"
	pathVersion4                       = "/papi/4/connectors/"
	legacyEnumerationParameter         = "PAPI_enumerationMode"
)

// Parameters of the query string or of a form.
const (
	ParamSession          = "PAPI_session"
	ParamURI              = "PAPI_uri"
	ParamRootPath         = "PAPI_rootPath"
	ParamRecursive        = "PAPI_recursive"
	ParamPrefix           = "PAPI_prefix"
	ParamCheckpoint       = "PAPI_checkpoint"
	ParamName             = "PAPI_name"
	ParamSync             = "PAPI_sync"
	ParamSynchronizedOnly = "PAPI_showSynchronizedOnly"
	ParamMode             = "PAPI_mode"
	ParamModeLegacy       = legacyEnumerationParameter
	ParamSerial           = "PAPI_serial"
)

// Headers of requests and replies.
const (
	// HeaderConnectorType carries the connector's type in a request.
	HeaderConnectorType = "X-Connector-Type"
	// HeaderErrorType carries the [ErrorType] of a reply.
	HeaderErrorType = "X-Push-Api-Error"
	// HeaderEscape set to [EscapeFullName] in a request asks for
	// [EscapeFull]; the reply repeats it if it was heeded.
	HeaderEscape   = "X-Push-Api-Escape"
	EscapeFullName = "full"
)

// DefaultConnectorType is sent by a client that was given none.
const DefaultConnectorType = "papi"

// Dialect is one of two spellings of the same protocol.
type Dialect uint8

const (
	// DialectStandard reads by GET and names the mode PAPI_mode.
	DialectStandard Dialect = iota
	// DialectLegacy sends everything but ping by POST, names the mode
	// PAPI_enumerationMode and counts by counted_synced_entries, as clients of
	// the first generation do. It has no get_checkpoint_info and no
	// enumerate_stated_checkpoints_info.
	DialectLegacy
)

// commandTraits says what a server and a client have to know of a command.
type commandTraits struct {
	command Command
	reads   bool
}

func commandTable() []commandTraits {
	return []commandTraits{
		{CommandPing, true},
		{CommandSession, true},
		{CommandAdd, false},
		{CommandUpdate, false},
		{CommandDelete, false},
		{CommandDeleteRootPath, false},
		{CommandDeletePrefix, false},
		{CommandStatus, true},
		{CommandSetCheckpoint, false},
		{CommandGetCheckpoint, true},
		{CommandGetCheckpointInfo, true},
		{CommandClearCheckpoints, false},
		{CommandCheckpoints, true},
		{CommandStatedCheckpoints, true},
		{CommandEnumerate, true},
		{CommandCount, true},
		{CommandSync, false},
		{CommandTriggerIndexing, false},
		{CommandSearchable, true},
		{CommandCapabilities, true},
		{CommandChanges, true},
		{CommandStanding, true},
	}
}

// Commands returns all commands in the order of their documentation.
func Commands() []Command {
	var list []Command
	for _, t := range commandTable() {
		list = append(list, t.command)
	}
	return list
}

// ParseCommand returns the command of a path segment in either dialect.
func ParseCommand(segment string) (Command, bool) {
	c := Command(segment)
	if c == commandCountLegacy {
		return CommandCount, true
	}
	return c, slices.Contains(Commands(), c)
}

// Reads reports whether the command changes nothing. A server takes reads by
// GET, HEAD and POST, and everything else by POST alone.
func (c Command) Reads() bool {
	return slices.Contains(commandTable(), commandTraits{c, true})
}

// Allows reports whether a server takes the command by this HTTP method.
func (c Command) Allows(method string) bool {
	return method == http.MethodPost || c.Reads() && (method == http.MethodGet || method == http.MethodHead)
}

// Method returns the HTTP method by which a client sends the command.
func (c Command) Method(d Dialect) string {
	if c == CommandPing || d == DialectStandard && c.Reads() {
		return http.MethodGet
	}
	return http.MethodPost
}

// segment returns the command's name in a dialect.
func (c Command) segment(d Dialect) string {
	if c == CommandCount && d == DialectLegacy {
		return string(commandCountLegacy)
	}
	return string(c)
}

// modeParameter returns the name of the parameter that carries the mode.
func (d Dialect) modeParameter() string {
	if d == DialectLegacy {
		return ParamModeLegacy
	}
	return ParamMode
}

// path returns the path of a command, not escaped.
func (c Command) path(connector string, d Dialect) string {
	return pathVersion4 + connector + "/" + c.segment(d)
}

// ParseSerial reads a serial or a count. White space around it is allowed.
func ParseSerial(text string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, Errorf(TypeInvalidParameter, "not a number", "%q is not a decimal number of 64 bits", clip(text))
	}
	return n, nil
}

// FormatSerial writes a serial or a count: digits alone, for old clients test
// the whole body as a number.
func FormatSerial(n uint64) string { return strconv.FormatUint(n, 10) }

// ParseSessionID reads a session id: 1 to 40 digits, kept byte for byte.
func ParseSessionID(text string) (SessionID, error) {
	text = strings.TrimSpace(text)
	if len(text) == 0 || len(text) > 40 || strings.Trim(text, "0123456789") != "" {
		return "", Errorf(TypeInvalidParameter, "not a session id", "%q is not a decimal number", clip(text))
	}
	return SessionID(text), nil
}

// ParseBool reads true or false; anything else is an [ErrInvalidParameter]
// that names the parameter.
func ParseBool(parameter, text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, Errorf(TypeInvalidParameter, "not a boolean", "parameter %s is %q, neither true nor false", parameter, clip(text))
}
