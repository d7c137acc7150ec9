package framework

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/gapless-sync/gapless"
)

// Option is an option of a connector beside those of the framework. Its value
// comes from a secret named like Env, else the command line, else the
// environment variable Env, else Default.
type Option struct {
	// Flag is the name on the command line without its dash, such as server;
	// empty if it is not taken from there.
	Flag string
	// Env is the name of the environment variable: CONNECTION_* for where the
	// data source is, CONFIGURATION_AUTH_* for credentials,
	// CONFIGURATION_PARAMETER_* for anything else.
	Env string
	// Help is one sentence.
	Help     string
	Default  string
	Required bool
	// Secret keeps the value out of the logs. A secret is given by environment
	// or file: the arguments of a process are for everybody to see.
	Secret bool
	// Value receives the value before Setup is called.
	Value *string

	// alone means that the flag needs no value after it: it is a switch.
	alone bool
}

// settings is what the options of the framework come to.
type settings struct {
	url, key, password string
	tokenURL, token    string
	source             string
	name, version      string
	exportDir          string
	stateDir           string
	pageRows           int
	debug, test        bool
	keep, full         bool
	approveShrink      bool
	// secrets are values that must not be logged.
	secrets []string
	// now replaces the clock of the log, for tests.
	now func() time.Time
}

// usageError is a mistake in arguments, environment or secrets.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// texts are the options of the framework before they are parsed.
type texts struct {
	url, key, password, tokenURL, token                       string
	source, name, version                                     string
	exportDir, stateDir, pageRows                             string
	debug, connectionTest, keepExportDir, full, approveShrink string
}

// DefaultExportDir is where rows are kept until they are imported.
const DefaultExportDir = "/tmp/car_temp_export_data"

func (t *texts) options() []Option {
	return []Option{
		{Flag: "car-service-url", Env: "CAR_SERVICE_URL", Value: &t.url, Help: "URL of the CAR service for a key and a password, such as https://host/api/car/v2."},
		{Flag: "car-service-key", Env: "CAR_SERVICE_KEY", Value: &t.key, Help: "API key of the CAR service."},
		{Flag: "car-service-password", Env: "CAR_SERVICE_PASSWORD", Value: &t.password, Secret: true, Help: "Password of the key."},
		{Flag: "car-service-url-for-token", Env: "CAR_SERVICE_URL_FOR_AUTHTOKEN", Value: &t.tokenURL, Help: "URL of the CAR service for a token."},
		{Flag: "car-service-token", Env: "CAR_SERVICE_AUTHTOKEN", Value: &t.token, Secret: true, Help: "Token of the CAR service; it wins over key and password."},
		{Flag: "source", Env: "CONNECTION_NAME", Value: &t.source, Help: "Unique id of the data source. Required."},
		{Flag: "name", Env: "CONNECTOR_NAME", Value: &t.name, Help: "Name of the connector in the logs."},
		{Flag: "version", Env: "CONNECTOR_VERSION", Value: &t.version, Help: "Version of the connector in the logs."},
		{Flag: "d", Env: "DEBUG", Value: &t.debug, alone: true, Help: "Log more."},
		{Flag: "connection-test", Env: "DATASOURCE_CONNECTION_TEST", Value: &t.connectionTest, alone: true, Help: "Only test the connection to the data source."},
		{Flag: "export-data-dir", Value: &t.exportDir, Default: DefaultExportDir, Help: "Folder for rows until they are imported."},
		{Flag: "keep-export-data-dir", Value: &t.keepExportDir, alone: true, Help: "Keep the rows there after the import."},
		{Flag: "export-data-page-size", Value: &t.pageRows, Default: "2000", Help: "Rows of one request at most."},
		{Flag: "state-dir", Env: "GAPLESS_STATE_DIR", Value: &t.stateDir, Help: "Folder for what is remembered between runs; by default below the export data."},
		{Flag: "full", Value: &t.full, alone: true, Help: "Import everything, whatever is remembered."},
		{Flag: "approve-shrink", Env: "GAPLESS_APPROVE_SHRINK", Value: &t.approveShrink, alone: true, Help: "Let a full import end that has far fewer rows than the one before."},
	}
}

// readOptions fills the values of all options, the author's and the
// framework's, and returns the latter.
func readOptions(app *App, args []string, env Environment) (*settings, error) {
	var t texts
	all := slices.Concat(t.options(), app.Options)
	given, err := parseArgs(all, args)
	if err != nil {
		return nil, err
	}
	secrets, err := readSecrets(env.SecretsDir)
	if err != nil {
		return nil, &usageError{err}
	}
	s := &settings{}
	for i := range all {
		o := &all[i]
		value, ok := secrets[o.Env]
		if !ok || o.Env == "" {
			value, ok = given[o.Flag]
		} else {
			o.Secret = true
		}
		if (!ok || value == "") && o.Env != "" {
			value = env.Getenv(o.Env)
		}
		if value == "" {
			value = o.Default
		}
		if *o.Value = value; o.Secret {
			s.secrets = append(s.secrets, value)
		}
	}
	if err := s.parse(&t); err != nil {
		return nil, err
	}
	if s.name == "" {
		s.name = displayName(env.Dir)
	}
	if s.name == "" {
		s.name = app.Name
	}
	if s.version == "" {
		s.version = app.Version
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	for _, o := range app.Options {
		if o.Required && *o.Value == "" {
			return nil, usage("%s is required", o.where())
		}
	}
	return s, nil
}

// where says how an option is given.
func (o *Option) where() string {
	switch {
	case o.Flag == "":
		return o.Env
	case o.Env == "":
		return "-" + o.Flag
	}
	return "-" + o.Flag + " (or " + o.Env + ")"
}

// parseArgs returns the values on the command line by flag. One dash or two
// begin a flag; its value stands behind it or behind an equals sign.
func parseArgs(options []Option, args []string) (map[string]string, error) {
	values := map[string]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, isFlag := strings.CutPrefix(arg, "-")
		name = strings.TrimPrefix(name, "-")
		name, value, joined := strings.Cut(name, "=")
		if name == "h" || name == "help" {
			return nil, errHelp
		}
		i := slices.IndexFunc(options, func(o Option) bool { return o.Flag == name && name != "" })
		switch {
		case !isFlag || i < 0:
			return nil, unknownArgument(options, arg, name)
		case joined:
		case options[i].alone && (len(args) == 0 || strings.HasPrefix(args[0], "-")):
			value = "true"
		case len(args) == 0:
			return nil, usage("-%s needs a value", name)
		default:
			value, args = args[0], args[1:]
		}
		values[name] = value
	}
	return values, nil
}

// errHelp means that the usage was asked for.
var errHelp = errors.New("usage was asked for")

// unknownArgument never repeats more of an argument than its name.
func unknownArgument(options []Option, arg, name string) error {
	if !strings.HasPrefix(arg, "-") {
		return usage("an argument stands where a flag is expected")
	}
	names := make([]string, len(options))
	for i := range options {
		names[i] = options[i].Flag
	}
	if hint := gapless.DidYouMean(name, names); hint != "" {
		return usage("there is no option -%s: %s", name, hint)
	}
	return usage("there is no option -%s", name)
}

// isTrue reports whether the text of a switch means yes: anything but the
// words for no.
func isTrue(text string) bool {
	switch strings.ToLower(text) {
	case "", "false", "0", "no", "off":
		return false
	}
	return true
}

func (s *settings) parse(t *texts) error {
	s.url, s.key, s.password, s.tokenURL, s.token = t.url, t.key, t.password, t.tokenURL, t.token
	s.source, s.name, s.version = t.source, t.name, t.version
	s.exportDir, s.stateDir = t.exportDir, t.stateDir
	s.debug, s.test, s.keep = isTrue(t.debug), isTrue(t.connectionTest), isTrue(t.keepExportDir)
	s.full, s.approveShrink = isTrue(t.full), isTrue(t.approveShrink)
	var err error
	if s.pageRows, err = strconv.Atoi(t.pageRows); err != nil || s.pageRows < 1 {
		return usage("-export-data-page-size %q is not a number of rows", t.pageRows)
	}
	if s.stateDir == "" {
		s.stateDir = filepath.Join(s.exportDir, "state")
	}
	return nil
}

// check looks at what is needed, in the order of the original.
func (s *settings) check() error {
	switch {
	case s.token == "" && (s.key == "" || s.password == ""):
		return usage("-car-service-token is needed, or -car-service-key and -car-service-password")
	case s.url == "" && s.tokenURL == "":
		return usage("-car-service-url or -car-service-url-for-token is needed")
	case s.url != "" && (s.key == "" || s.password == ""):
		return usage("-car-service-url needs -car-service-key and -car-service-password")
	case s.tokenURL != "" && s.token == "":
		return usage("-car-service-url-for-token needs -car-service-token")
	case s.token != "" && s.tokenURL == "":
		return usage("-car-service-token needs -car-service-url-for-token")
	case s.source == "":
		return usage("-source is needed")
	}
	return nil
}

// displayName is what a pod's configuration calls the connector.
func displayName(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "configurations", "config.json"))
	if err != nil {
		return ""
	}
	return gjson.GetBytes(text, "connection.type.displayName").String()
}

// usageText lists the options.
func usageText(app *App) string {
	var t texts
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s [options]\n", app.Name)
	for _, o := range slices.Concat(t.options(), app.Options) {
		fmt.Fprintf(&b, "  %s\n        %s", o.where(), o.Help)
		if o.Default != "" {
			fmt.Fprintf(&b, " Default: %s.", o.Default)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
