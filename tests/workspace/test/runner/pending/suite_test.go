// Package pending_test is a case for the runner's tests: one spec passes, one is pending.
package pending_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "pending")
}

var _ = Describe("Arithmetic", func() {
	It("adds", func() { Expect(1 + 1).To(Equal(2)) })

	PIt("divides by zero", func() { Fail("not yet") })
})
