package consumer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/metrictest"
)

// A client of the new consumer protocol (KIP-848) is refused by the broker: by
// what we write, also when the library's subscriptions are well-formed. The
// library writes version 1 of them without its last field, which the broker
// refuses as well; this test writes them as version 0.
func testConsumerClientOfTheNewProtocol(t *testing.T) {
	for name, wellFormed := range map[string]bool{"AsTheLibraryIs": false, "WellFormedSubscriptions": true} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Real(t)
			topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
			r := start(t, c, g, topic, j, func(config *consumer.Config) {
				if !wellFormed {
					return
				}
				conn, err := kafka.New(kafka.Config{Brokers: c.Brokers(), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					return &repairingConn{conn, subscription(topic)}, err
				}})
				if err != nil {
					t.Fatal(err)
				}
				config.Kafka = conn
			})
			eventually(t, "the consumer", func() bool { ok, _ := r.Ready(); return ok })
			client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			request.Group, request.MemberID, request.RebalanceTimeoutMillis = g, "c3RyYW5nZXItYS1hLWEtYQ", 30000
			request.SubscribedTopicNames = []string{topic}
			request.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			response, err := request.RequestWith(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			if response.ErrorMessage != nil {
				text = *response.ErrorMessage
			}
			t.Logf("the broker: %v, %s", kerr.ErrorForCode(response.ErrorCode), text)
			if response.ErrorCode == 0 {
				t.Error("the client is in the group")
			}
			c.Produce(t, topic, many(0, 10))
			eventually(t, "the records", func() bool { return j.taken() == 10 })
			if ok, words := r.Ready(); !ok {
				t.Errorf("not ready: %s", words)
			}
			<-time.After(time.Second)
			if n := metrictest.Sum(t, r.registry, "invoicebox_worker_consumer_generations_total"); n != 1 {
				t.Errorf("%v generations", n)
			}
		})
	}
}

// subscription is the beginning of what the library writes for one topic.
func subscription(topic string) []byte {
	b := []byte{0, 1, 0, 0, 0, 1}
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	return append(b, topic...)
}

// A repairingConn writes a subscription as version 0.
type repairingConn struct {
	net.Conn
	subscription []byte
}

func (r *repairingConn) Write(b []byte) (int, error) {
	if i := bytes.Index(b, r.subscription); i >= 0 {
		b = bytes.Clone(b)
		b[i+1] = 0
	}
	return r.Conn.Write(b)
}

// The assignments that a leader sends hold user data, by which brokers know
// that the group has an assignor of its own.
func testConsumerAssignmentsHoldUserData(t *testing.T) {
	c := kafkatest.Embedded(t)
	topic, g, j := c.NewTopic(t, "in", 2), group(), newInbox()
	found := make(chan []byte, 1)
	c.Fake().ControlKey(int16(kmsg.SyncGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		for _, a := range r.(*kmsg.SyncGroupRequest).GroupAssignment {
			var assignment kmsg.ConsumerMemberAssignment
			if err := assignment.ReadFrom(a.MemberAssignment); err != nil || len(assignment.Topics) != 1 || len(assignment.Topics[0].Partitions) != 2 {
				t.Errorf("%+v, %v", assignment, err)
			}
			found <- assignment.UserData
		}
		return nil, nil, false
	})
	r := start(t, c, g, topic, j)
	eventually(t, "the consumer", func() bool { ok, _ := r.Ready(); return ok })
	if data := string(<-found); data != consumer.ProtocolName(j) {
		t.Errorf("the user data is %q", data)
	}
}
