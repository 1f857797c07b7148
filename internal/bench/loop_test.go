package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/twmb/franz-go/pkg/kgo"

	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// startLoop starts the simplest program: for each code one call, with inFlight calls at
// a time, and one result. It checks no token, writes nothing to a disk, and commits
// offsets automatically. It ends with the benchmark.
func (r *rig) startLoop() {
	b := r.b
	ctx, cancel := context.WithCancel(context.Background())
	client, err := kgo.NewClient(
		kgo.SeedBrokers(r.cluster.Brokers()...), kgo.ConsumerGroup(r.topics[schemas.TypeActivated]),
		kgo.ConsumeTopics(r.topics[schemas.TypeCodeEntered]), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DefaultProduceTopic(r.topics[schemas.TypeActivated]),
	)
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: inFlight}
	calls := &http.Client{Transport: transport}
	var running sync.WaitGroup
	running.Go(func() {
		slots := make(chan struct{}, inFlight)
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			fetches.EachRecord(func(record *kgo.Record) {
				slots <- struct{}{}
				running.Go(func() {
					defer func() { <-slots }()
					result, err := r.activate(ctx, calls, record)
					if err != nil {
						b.Error(err)
						return
					}
					client.Produce(ctx, &kgo.Record{Key: record.Key, Value: result}, func(_ *kgo.Record, err error) {
						if err != nil && ctx.Err() == nil {
							b.Error(err)
						}
					})
				})
			})
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
		client.Close()
		transport.CloseIdleConnections()
	})
}

func (r *rig) activate(ctx context.Context, calls *http.Client, record *kgo.Record) ([]byte, error) {
	var entered struct {
		ShopID         string `json:"shopId"`
		ActivationCode string `json:"activationCode"`
	}
	if err := json.Unmarshal(record.Value, &entered); err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"partnerId": sandbox.DefaultPartnerID, "activationCode": entered.ActivationCode})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.api.url+"/activation", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := calls.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var activated struct {
		Data struct {
			MerchantID string `json:"merchantId"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &activated); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || activated.Data.MerchantID == "" {
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, answer)
	}
	return json.Marshal(map[string]string{"shopId": entered.ShopID, "merchantId": activated.Data.MerchantID})
}
