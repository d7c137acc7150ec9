package main

import (
	"fmt"
	"strconv"
)

// inventory makes the tables of n assets up. Each asset has an address of each
// kind, a host name, three applications and two vulnerabilities: in CAR 9
// vertices and 16 edges, besides two sites and a port for all.
func inventory(n int) map[string]*table {
	type object = map[string]any
	tables := map[string]*table{
		"sites": {made: 2, key: "pk", row: func(pk int) object {
			return object{"pk": pk, "name": "site" + strconv.Itoa(pk), "address": fmt.Sprintf("%d Main Street", pk)}
		}},
		"ports": {made: 1, key: "pk", row: func(pk int) object {
			return object{"pk": pk, "number": 8442 + pk, "protocol": "TCP"}
		}},
		"vulnerabilities": {made: 2 * n, key: "pk", row: func(pk int) object {
			return object{"pk": pk, "name": fmt.Sprintf("CVE-2026-%05d", pk), "description": "A made-up vulnerability", "score": float64(pk%100) / 10}
		}},
		"assets": {made: n, key: "pk", row: func(pk int) object {
			return object{
				"pk": pk, "name": fmt.Sprintf("asset%d.example.com", pk), "type": "Other", "initial_value": 1000 * float64(pk%7), "site": 1 + pk%2,
				"vulnerabilities": []int{2*pk - 1, 2 * pk},
			}
		}},
		"ip_addresses": {made: n, key: "address", row: func(pk int) object {
			return object{"pk": pk, "address": fmt.Sprintf("10.%d.%d.%d", pk>>16&255, pk>>8&255, pk&255), "asset": pk, "ports": []int{1}}
		}},
		"mac_addresses": {made: n, key: "address", row: func(pk int) object {
			return object{"pk": pk, "address": fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", pk>>24&255, pk>>16&255, pk>>8&255, pk&255), "asset": pk}
		}},
		"hosts": {made: n, key: "name", row: func(pk int) object {
			return object{"pk": pk, "name": fmt.Sprintf("host%d.example.com", pk), "asset": pk}
		}},
		"apps": {made: 3 * n, key: "pk", row: func(pk int) object {
			first := 2 * ((pk - 1) / 3)
			return object{"pk": pk, "name": "app" + strconv.Itoa(pk), "ports": []int{1}, "vulnerabilities": []int{first + 1, first + 2}}
		}},
	}
	for _, t := range tables {
		t.changed, t.last = map[int]map[string]any{}, t.made
	}
	return tables
}
