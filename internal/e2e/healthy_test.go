package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// Two workers over PostgreSQL with light work, their own limits and the rules and intervals of
// deploy/. In the middle each is restarted once, one after the other. No alert fires.
//
// INVOICEBOX_TEST_ALERTS is how long. The test also reports what was pending, from the series
// ALERTS that Prometheus writes at each evaluation.
func TestHealthy(t *testing.T) {
	duration, err := time.ParseDuration(os.Getenv("INVOICEBOX_TEST_ALERTS"))
	if err != nil || duration < 2*time.Minute {
		t.Skip("INVOICEBOX_TEST_ALERTS is not a duration of at least 2m")
	}
	server := pgtest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), sandbox.Options{Profile: sandbox.Calm, Latency: 50 * time.Millisecond}, "--verify-every", "10m")
	r.journal = server.Database(t, "")
	workers := []*worker{r.start(), r.start()}
	m := newMonitoring(t, false, workers...)
	restart := func(i int) {
		if code, _ := workers[i].terminate(time.Minute); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}
		workers[i] = r.start()
		m.watch(workers...)
	}

	// What shops and Invoicebox ordinarily do: most codes are good.
	codes := []string{"code", "code", "rejected", "code", "limited", "code", "slow-2", "code", "expired", "pending-token"}
	began, shops := time.Now(), 0
	restarts := []time.Duration{duration / 2, duration/2 + 30*time.Second}
	for ; time.Since(began) < duration; shops++ {
		if n := len(workers) - len(restarts); n < len(workers) && time.Since(began) > restarts[0] {
			restarts = restarts[1:]
			restart(n)
		}
		shop := fmt.Sprintf("healthy-%05d", shops)
		r.selected(shop)
		r.send(schemas.TypeCodeEntered, []string{shop}, func(shop string) string {
			return fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, codes[shops%len(codes)]+"-"+shop)
		})
		pause(2 * time.Second)
	}
	await(t, time.Minute, "every shop has its results", func() bool {
		return r.count(schemas.TypeInvited) == shops && r.count(schemas.TypeActivated)+r.count(schemas.TypeActivationFailed) == shops
	})

	over := fmt.Sprintf("[%ds]", int(time.Since(began).Seconds())+1)
	scrapes, failed := m.query("sum(count_over_time(up" + over + "))")[""], m.query("sum(count_over_time(up" + over + ") - sum_over_time(up" + over + "))")[""]
	states := m.query("sum by (alertname, alertstate) (count_over_time(ALERTS" + over + "))")
	evaluations := states[`{"alertname":"Watchdog","alertstate":"firing"}`]
	delete(states, `{"alertname":"Watchdog","alertstate":"firing"}`)
	t.Logf("%v, %d shops; %v scrapes, of them %v failed; %v evaluations of %d alerts; pending or firing at how many of them: %v",
		time.Since(began).Round(time.Second), shops, scrapes, failed, evaluations, len(m.alerts), states)
	if want := (duration - time.Minute).Seconds() / 15 * 0.9; evaluations < want || scrapes < want*2 {
		t.Errorf("%v evaluations and %v scrapes; expected at least %v and %v", evaluations, scrapes, want, want*2)
	}
	for state := range states {
		if strings.Contains(state, `"firing"`) {
			t.Errorf("fired: %s", state)
		}
	}
	if fired := m.fired(); len(fired) > 0 {
		t.Errorf("notified: %v", fired)
	}
	if !m.notifiedOf(watchdog) {
		t.Error("Alertmanager has not notified the watchdog: it would not have notified an alert")
	}
}

func (m *monitoring) notifiedOf(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.firing[name]
}

// query asks Prometheus for an instant vector: values by their labels as JSON, and by "" without labels.
func (m *monitoring) query(promql string) map[string]float64 {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "http://"+m.address+"/api/v1/query?query="+url.QueryEscape(promql), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		m.t.Fatalf("%s: %v %s", promql, err, answer.Error)
	}
	values := map[string]float64{}
	for _, r := range answer.Data.Result {
		key := ""
		if len(r.Metric) > 0 {
			labels, err := json.Marshal(r.Metric)
			if err != nil {
				m.t.Fatal(err)
			}
			key = string(labels)
		}
		if values[key], err = strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); err != nil {
			m.t.Fatal(err)
		}
	}
	return values
}
