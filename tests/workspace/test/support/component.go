package support

import (
	"context"
	"os/exec"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// Component is a container of the stack that a spec can take away: the specs
// that do are Serial, for all parallel processes have the one stack.
type Component string

const (
	Postgres Component = "postgres"
	Redis    Component = "redis"
)

// away is what this process has taken away and not started again.
var away = map[Component]bool{}

// Kill ends the component by a signal (KILL, INT, TERM ...) and returns when it
// has ended. When the spec is over it is started again, whatever became of that.
func (c Component) Kill(ctx context.Context, signal string) {
	GinkgoHelper()
	c.startAfterwards()
	c.infra(ctx, "infra.kill", "--signal", signal)
}

// Pause freezes the component until Start, or until the spec is over: its
// connections stay, and nothing answers.
func (c Component) Pause(ctx context.Context) {
	GinkgoHelper()
	c.startAfterwards()
	c.infra(ctx, "infra.pause")
}

// Start starts the component again, or lets it go on, and returns when it is
// ready. One that runs stays as it is.
func (c Component) Start(ctx context.Context) {
	GinkgoHelper()
	c.infra(ctx, "infra.start")
	delete(away, c)
}

func (c Component) startAfterwards() {
	GinkgoHelper()
	away[c] = true
	DeferCleanup(func(ctx SpecContext) {
		if away[c] {
			c.Start(ctx)
		}
	})
}

// WaitUntilReady is for what is killed or started elsewhere.
func (c Component) WaitUntilReady(ctx context.Context, timeout time.Duration) {
	GinkgoHelper()
	c.infra(ctx, "infra.wait", "--timeout", timeout.Truncate(time.Millisecond).String())
}

func (c Component) infra(ctx context.Context, words ...string) {
	GinkgoHelper()
	command := exec.CommandContext(ctx, Required("INFRA_INVOKE"), append(words, "--component", string(c))...)
	said, err := command.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s", said)
	AddReportEntry(string(said), ReportEntryVisibilityFailureOrVerbose)
}
