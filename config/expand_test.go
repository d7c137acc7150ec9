package config

import "testing"

func TestExpand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text, want, problem string
		environment, literal      bool
	}{
		{name: "plain", text: "a b", want: "a b"},
		{name: "variable", text: "${HOME}/docs", want: "/home/ann/docs", environment: true},
		{name: "default", text: "x${NONE:-y}z", want: "xyz", literal: true},
		{name: "default not needed", text: "${HOME:-y}", want: "/home/ann", environment: true, literal: true},
		{name: "default of an empty variable", text: "${EMPTY:-y}", want: "y", literal: true},
		{name: "empty variable", text: "<${EMPTY}>", want: "<>", environment: true},
		{name: "empty default", text: "<${NONE:-}>", want: "<>"},
		{name: "nested", text: "${NONE:-${ALSO_NONE:-../..}}", want: "../..", literal: true},
		{name: "nested variable", text: "${NONE:-${HOME}/x}", want: "/home/ann/x", environment: true, literal: true},
		{name: "nested, not needed and not set", text: "${HOME:-${NONE}}", want: "/home/ann", environment: true},
		{name: "two", text: "${HOME}${NONE:-a}${HOME}", want: "/home/anna/home/ann", environment: true, literal: true},
		{name: "escape", text: "$${HOME} $$ $x $", want: "${HOME} $ $x $"},
		{name: "escape within a default", text: "${NONE:-$${}}", want: "${}", literal: true},
		{name: "an escaped reference opens nothing", text: "${NONE:-$${}", want: "${", literal: true},
		{name: "values are not expanded again", text: "${NONE:-$$}{HOME}", want: "${HOME}", literal: true},
		{name: "not set", text: "${NONE}", problem: "${NONE} is not set"},
		{name: "nested not set", text: "${NONE:-${ALSO}}", problem: "${ALSO} is not set"},
		{name: "not closed", text: "${HOME", problem: "a reference is never closed"},
		{name: "not closed inside", text: "${NONE:-${HOME}", problem: "a reference is never closed"},
		{name: "no name", text: "${}", problem: "what is between the braces of a reference names no variable"},
		{name: "bad name", text: "${a-b}", problem: "what is between the braces of a reference names no variable"},
		{name: "digit first", text: "${1A}", problem: "what is between the braces of a reference names no variable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, bad := expand(test.text, testLookup)
			problem := ""
			if bad != nil {
				problem = bad.message
			}
			if problem != test.problem {
				t.Fatalf("problem %q, want %q", problem, test.problem)
			}
			if bad != nil {
				return
			}
			if got.text != test.want || got.environment != test.environment || got.literalDefault != test.literal {
				t.Errorf("%+v, want %q, environment %v, literal default %v", got, test.want, test.environment, test.literal)
			}
		})
	}
}
