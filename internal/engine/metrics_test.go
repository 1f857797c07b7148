package engine

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"invoicebox-worker/internal/journal"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		b := newHarness(t, good)
		b.cfg.Metrics = NewMetrics(r)
		b.add(journal.Invite, "shop-1", "someone@example.com")
		b.add(journal.Activate, "shop-1", "code-1")
		b.run(5 * time.Second)
		const want = `
# HELP invoicebox_worker_account_circuit 1 for the current state of the account's circuit breaker, 0 for the others.
# TYPE invoicebox_worker_account_circuit gauge
invoicebox_worker_account_circuit{account="default",state="throttled"} 0
invoicebox_worker_account_circuit{account="default",state="active"} 1
invoicebox_worker_account_circuit{account="default",state="paused"} 0
invoicebox_worker_account_circuit{account="default",state="backing_off"} 0
# HELP invoicebox_worker_calls_in_flight Calls to Invoicebox in flight, by account.
# TYPE invoicebox_worker_calls_in_flight gauge
invoicebox_worker_calls_in_flight{account="default"} 0
# HELP invoicebox_worker_operations_finished_total Operations that reached done or attention, by kind, state and reason.
# TYPE invoicebox_worker_operations_finished_total counter
invoicebox_worker_operations_finished_total{kind="activate",reason="activated",state="done"} 1
invoicebox_worker_operations_finished_total{kind="invite",reason="sent",state="done"} 1
# HELP invoicebox_worker_operations_in_flight Operations claimed by this process, by account.
# TYPE invoicebox_worker_operations_in_flight gauge
invoicebox_worker_operations_in_flight{account="default"} 0
`
		if err := testutil.GatherAndCompare(r, strings.NewReader(want), "invoicebox_worker_account_circuit", "invoicebox_worker_calls_in_flight",
			"invoicebox_worker_operations_finished_total", "invoicebox_worker_operations_in_flight"); err != nil {
			t.Error(err)
		}
		problems, err := testutil.GatherAndLint(r)
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		n, err := testutil.GatherAndCount(r, "invoicebox_worker_call_duration_seconds", "invoicebox_worker_rate_limit_available")
		if err != nil || n != 5 { // invite, activate, check; account, egress
			t.Errorf("%d series, error %v", n, err)
		}
	})
}
