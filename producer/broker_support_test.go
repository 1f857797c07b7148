package producer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

// Brokers without InitProducerId get the results without producer ids: those
// that do not list the API and close the connection on its use, and those that
// refuse it to the user. It is logged once.
func testRelayWithoutProducerID(t *testing.T) {
	for name, set := range map[string]func(*kfake.Cluster){
		"NotListed": func(c *kfake.Cluster) {
			c.ControlKey(int16(kmsg.ApiVersions), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				response := r.ResponseKind().(*kmsg.ApiVersionsResponse)
				for key := range int16(kmsg.MaxKey) {
					if v := kversion.Stable(); key != int16(kmsg.InitProducerID) {
						if top, ok := v.LookupMaxKeyVersion(key); ok {
							response.ApiKeys = append(response.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: top})
						}
					}
				}
				return response, nil, true
			})
			c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, errors.New("closed"), true
			})
		},
		"Refused": func(c *kfake.Cluster) {
			c.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				response := r.ResponseKind().(*kmsg.InitProducerIDResponse)
				response.ErrorCode = kerr.ClusterAuthorizationFailed.Code
				return response, nil, true
			})
		},
		// Brokers before 2.8 may lose the right while ids are in use.
		"RefusedLater": func(c *kfake.Cluster) {
			var ids atomic.Int64
			c.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				response := r.ResponseKind().(*kmsg.InitProducerIDResponse)
				response.ProducerID = 7 + ids.Add(1)
				if ids.Load() > 3 {
					response.ErrorCode = kerr.ClusterAuthorizationFailed.Code
				}
				return response, nil, true
			})
			c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				produce := r.(*kmsg.ProduceRequest)
				if producerID(produce) < 0 {
					return nil, nil, false
				}
				return refuseProduce(produce, kerr.ClusterAuthorizationFailed.Code), nil, true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
			set(c.Fake())
			o := newOutbox()
			var log bytes.Buffer
			r := start(t, c, o, func(p *producer.Config) {
				p.Logger = slog.New(slog.NewTextHandler(&log, nil))
				p.BlockedRetry = 50 * time.Millisecond
			})
			for i := range 20 {
				o.add(schemas.TypeInvited, fmt.Sprint("shop-", i), fmt.Sprint(i))
			}
			eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
			r.stop()
			if n := len(c.ReadAll(t, schemas.TypeInvited)); n != 20 {
				t.Errorf("%d records are published", n)
			}
			if n := strings.Count(log.String(), "issue no producer ids"); n != 1 {
				t.Errorf("it is logged %d times:\n%s", n, &log)
			}
			if strings.Contains(log.String(), "password") {
				t.Errorf("a password is blamed:\n%s", &log)
			}
		})
	}
}

func producerID(r *kmsg.ProduceRequest) int64 {
	return int64(binary.BigEndian.Uint64(r.Topics[0].Partitions[0].Records[43:]))
}

func maxTime(r *kmsg.ProduceRequest) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(r.Topics[0].Partitions[0].Records[35:])))
}

func refuseProduce(r *kmsg.ProduceRequest, code int16) *kmsg.ProduceResponse {
	response := r.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range r.Topics {
		one := kmsg.NewProduceResponseTopic()
		one.Topic = topic.Topic
		for _, p := range topic.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, code
			one.Partitions = append(one.Partitions, partition)
		}
		response.Topics = append(response.Topics, one)
	}
	return response
}

// A topic may bound the age of records. A batch that waited for its broker is
// sent with the present time, and a topic that refused it is not stopped.
func testRelayTimeOfBatchThatWaited(t *testing.T) {
	const bound = 300 * time.Millisecond
	for name, first := range map[string]func(*kmsg.ProduceRequest) (kmsg.Response, time.Duration){
		"LeaderAway": func(r *kmsg.ProduceRequest) (kmsg.Response, time.Duration) {
			return refuseProduce(r, kerr.NotLeaderForPartition.Code), 0
		},
		// The request was on its way for longer than the bound.
		"RequestAway": func(r *kmsg.ProduceRequest) (kmsg.Response, time.Duration) {
			return nil, 2 * bound
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
			var attempts atomic.Int64
			began := time.Now()
			c.Fake().ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.Fake().KeepControl()
				produce := r.(*kmsg.ProduceRequest)
				attempts.Add(1)
				if attempts.Load() == 1 || name == "LeaderAway" && time.Since(began) < 3*bound {
					response, wait := first(produce)
					<-time.After(wait)
					if response != nil {
						return response, nil, true
					}
				}
				if time.Since(maxTime(produce)) > bound {
					return refuseProduce(produce, kerr.InvalidTimestamp.Code), nil, true
				}
				return nil, nil, false
			})
			o := newOutbox()
			r := start(t, c, o, func(p *producer.Config) { p.BlockedRetry = time.Hour })
			for i := range 5 {
				o.add(schemas.TypeInvited, "shop", fmt.Sprint(i))
			}
			eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
			if got := values(c.ReadAll(t, schemas.TypeInvited))["shop"]; !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
				t.Errorf("the topic holds %v", got)
			}
			if attempts.Load() < 2 {
				t.Error("the batch never waited")
			}
			if ready, words := r.Ready(); !ready {
				t.Errorf("not ready: %s", words)
			}
		})
	}
}

// A topic that refuses the present time, too, is stopped until it takes it.
func testRelayBlocksTopicThatRefusesTime(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	fault := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.TypeInvited, Err: kerr.InvalidTimestamp, Count: -1})
	o := newOutbox()
	r := start(t, c, o, func(p *producer.Config) { p.BlockedRetry = 100 * time.Millisecond })
	o.add(schemas.TypeInvited, "shop", "0")
	eventually(t, "the topic is stopped", func() bool {
		ready, words := r.Ready()
		return !ready && strings.Contains(words, schemas.TypeInvited)
	})
	fault.Remove()
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	eventually(t, "ready again", func() bool { ready, _ := r.Ready(); return ready })
}

// A broker that wrote a batch, lost its answer and then finds the time of the
// repeat too old has the batch once: the repeat keeps its sequence.
func testRelayTimeRefusedAfterAppend(t *testing.T) {
	c := kafkatest.Embedded(t, kafkatest.WithTopics(allTopics...))
	lost := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: schemas.TypeInvited, Err: kerr.RequestTimedOut, Count: 1})
	var attempts atomic.Int64
	c.Fake().ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake().KeepControl()
		if attempts.Add(1) == 2 {
			return refuseProduce(r.(*kmsg.ProduceRequest), kerr.InvalidTimestamp.Code), nil, true
		}
		return nil, nil, false
	})
	o := newOutbox()
	start(t, c, o)
	o.add(schemas.TypeInvited, "shop", "0")
	eventually(t, "an empty outbox", func() bool { return o.left() == 0 })
	if n := len(c.ReadAll(t, schemas.TypeInvited)); n != 1 || lost.Hits() != 1 || attempts.Load() != 3 {
		t.Errorf("%d records after %d attempts, %d answers lost", n, attempts.Load(), lost.Hits())
	}
}

// Whatever keeps results for a minute, Ready does not report that the relay
// publishes: an error again and again, or no answer at all.
func testRelayReportsWaitingPartitions(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"Produce": kmsg.Produce, "InitProducerID": kmsg.InitProducerID} {
		for kind, hangs := range map[string]bool{"Closed": false, "NoAnswer": true} {
			t.Run(name+kind, func(t *testing.T) {
				inVirtualTime(t, func(w *cluster) {
					over := make(chan struct{})
					fake := w.kafka.Fake()
					fake.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
						fake.KeepControl()
						select {
						case <-over:
							return nil, nil, false
						default:
						}
						if hangs {
							fake.SleepControl(func() { <-over })
							return nil, nil, false
						}
						return nil, errors.New("closed"), true
					})
					one := w.replica()
					w.outbox.add(schemas.TypeInvited, "shop", "0")
					w.wait(55 * time.Second)
					if ready, words := one.Ready(); !ready || words != "publishing" {
						t.Errorf("after 55 s: %v, %q", ready, words)
					}
					w.wait(10 * time.Second)
					if ready, words := one.Ready(); ready || !strings.Contains(words, schemas.TypeInvited+"/") {
						t.Errorf("after 65 s: %v, %q", ready, words)
					}
					close(over)
					w.until("an empty outbox", func() bool { return w.outbox.left() == 0 })
					w.expectReady(one, true, "publishing", 1)
				})
			})
		}
	}
}
