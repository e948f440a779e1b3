// Package broken_test is a case for the runner's tests: it does not compile. testdata keeps it out of ./....
package broken_test

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "broken")
}

var _ = Describe("A spec", func() {
	It("uses what does not exist", func() { Expect(undefined).To(BeTrue()) })
})
