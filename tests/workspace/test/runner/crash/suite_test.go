// Package crash_test is a case for the runner's tests: a spec kills its own process.
package crash_test

import (
	"os"
	"syscall"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "crash")
}

var _ = Describe("A process", func() {
	It("works", func() { Expect(true).To(BeTrue()) })

	It("is killed", func() {
		Expect(syscall.Kill(os.Getpid(), syscall.SIGKILL)).To(Succeed())
		select {} // the signal is on its way
	})
})
