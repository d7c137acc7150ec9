package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gapless-sync/gapless/connectors/pushapi"
)

func newHashPassword(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Print the hash of a password, for users: in the configuration",
		Long: `Reads a password, one line, from standard input and prints its hash. The hash
stands for the password in a configuration's users: and cannot be turned back.
A $ in it is written $$ there; that form is printed.`,
		Example: `  gapless hash-password < password.txt
  pass show crawler | gapless hash-password`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			password := strings.TrimRight(line, "\r\n")
			if password == "" {
				return usage("standard input gave no password: %v", err)
			}
			hash, err := pushapi.HashPassword(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(w.out, strings.ReplaceAll(hash, "$", "$$"))
			return err
		},
	}
}
