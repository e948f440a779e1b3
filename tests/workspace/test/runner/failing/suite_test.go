// Package failing_test is a case for the runner's tests: one spec passes, one fails.
package failing_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "failing")
}

var _ = Describe("Arithmetic", func() {
	It("adds", func() { Expect(1 + 1).To(Equal(2)) })

	It("gets a sum wrong", func() { Expect(1+1).To(Equal(3), "the sum of one and one") })
})
