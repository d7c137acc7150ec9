package framework_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gapless-sync/gapless/connectors/car/framework"
)

// inventory is a data source with one asset.
type inventory struct{ address string }

func (inventory) TestConnection(context.Context) error { return nil }

func (inventory) NewModelStateID(context.Context) (string, error) { return "1", nil }

func (i inventory) ImportVertices(_ context.Context, data *framework.DataHandler) error {
	if err := data.AddCollection("asset", map[string]any{"external_id": "1", "name": "web-1"}, "external_id"); err != nil {
		return err
	}
	return data.AddCollection("ipaddress", map[string]any{"_key": i.address}, "_key")
}

func (i inventory) ImportEdges(_ context.Context, data *framework.DataHandler) error {
	return data.AddEdge("asset_ipaddress", map[string]any{"_from_external_id": "1", "_to": "ipaddress/" + i.address})
}

// A connector is one value; its main function is os.Exit(app.Main()).
func ExampleApp() {
	var address string
	app := framework.App{
		Name: "example",
		Options: []framework.Option{
			{Flag: "address", Env: "CONFIGURATION_PARAMETER_ADDRESS", Help: "Address of the asset.", Value: &address},
		},
		Setup: func(_ context.Context, _ *framework.Run) (framework.Connector, error) {
			i := inventory{address}
			return framework.Connector{AssetServer: i, Full: i}, nil
		},
	}
	env := framework.Environment{Getenv: func(string) string { return "" }}
	exit := app.Run(context.Background(), []string{
		"-car-service-url", "https://car.example.com/api/car/v2", "-car-service-key", "key", "-car-service-password", "password",
		"-source", "cmdb", "-address=10.0.0.1", "-connection-test",
	}, env, os.Stderr)
	fmt.Println("exit code", exit, address)
	// Output: exit code 0 10.0.0.1
}
