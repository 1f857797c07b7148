package invoicebox_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives its call, whatever the test did to the connection.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
