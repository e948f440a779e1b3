// Package fault reads the switches that break one behaviour on purpose, so that
// a suite can be seen to fail. README.md has the specs that each turns red.
package fault

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Named returns the fault that an environment variable asks for, empty for none.
// One that is not among the known is an error: nothing would break.
func Named(variable string, known ...string) (string, error) {
	name := os.Getenv(variable)
	if name != "" && !slices.Contains(known, name) {
		return "", fmt.Errorf("%s: %q is not one of: %s", variable, name, strings.Join(known, ", "))
	}
	return name, nil
}
