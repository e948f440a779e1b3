package signalprocessing

import (
	"fmt"
	"strings"
)

// Unknown is what cannot be told; it is never taken for harmless.
const Unknown = "unknown"

// EnvironmentLabel of a namespace says more than its name.
const EnvironmentLabel = "kubernaut.io/environment"

// Classification says how much a signal matters.
type Classification struct {
	Severity    string `json:"severity"`    // critical, high, medium, low, unknown
	Environment string `json:"environment"` // production, staging, development, unknown
	Priority    int    `json:"priority"`    // 0, the most urgent, to 3
}

var severities = map[string]string{
	"critical": "critical", "crit": "critical", "page": "critical", "fatal": "critical", "p1": "critical",
	"high": "high", "error": "high", "major": "high", "p2": "high",
	"medium": "medium", "warning": "medium", "warn": "medium", "p3": "medium",
	"low": "low", "info": "low", "none": "low", "p4": "low",
}

var environments = map[string]string{
	"production": "production", "prod": "production", "live": "production",
	"staging": "staging", "stage": "staging", "uat": "staging",
	"development": "development", "dev": "development", "test": "development",
}

var (
	ranks    = map[string]int{"critical": 0, "high": 1, Unknown: 1, "medium": 2, "low": 3}
	distance = map[string]int{"production": 0, "staging": 1, Unknown: 1, "development": 2}
)

// Classify judges a normalised signal.
func Classify(s Signal, c Context) Classification {
	severity, ok := severities[s.Severity]
	if !ok {
		severity = Unknown
	}
	environment := environmentOf(s.Namespace, c)
	return Classification{
		Severity:    severity,
		Environment: environment,
		Priority:    min(ranks[severity]+distance[environment], 3),
	}
}

// environmentOf believes the label first, and the name only word by word:
// reproduction is not production.
func environmentOf(namespace string, c Context) string {
	if e, ok := environments[strings.ToLower(c.NamespaceLabels[EnvironmentLabel])]; ok {
		return e
	}
	for _, word := range strings.Split(namespace, "-") {
		if e, ok := environments[word]; ok {
			return e
		}
	}
	return Unknown
}

func (c Classification) String() string {
	return fmt.Sprintf("P%d (%s in %s)", c.Priority, c.Severity, c.Environment)
}
