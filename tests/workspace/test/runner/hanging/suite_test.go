// Package hanging_test is a case for the runner's tests: a spec that takes no notice of anything.
package hanging_test

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "hanging")
}

var _ = Describe("A spec", func() {
	It("sleeps for a day", func() { time.Sleep(24 * time.Hour) })
})
