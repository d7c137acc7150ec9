package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/config"
)

func newSchema(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Prints the JSON Schema of ` + config.FileName + `. Editors that know YAML schemas complete and
check the file with it, for example with this as its first line:

  # yaml-language-server: $schema=./gapless.schema.json`,
		Example: `  gapless schema > gapless.schema.json`,
		Args:    between(0, 0),
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema(w.catalog.Connectors())
			if err != nil {
				return fmt.Errorf("make the schema: %w", err)
			}
			w.printf("%s\n", schema)
			return nil
		},
	}
}
