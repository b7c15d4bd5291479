"""Features of flights from New York: weather, aircraft, and how punctual a carrier and a route have just been.

Names are unique within the service, because a model sees a column by its name alone. No view has a TTL: how old a value may be
is a limit on its observation, set in the model's spec.
"""

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String, UnixTimestamp

from feature_repo.sources import TIME, path

origin = Entity(name="origin", value_type=ValueType.STRING, description="Airport of departure (IATA code)")
dest = Entity(name="dest", value_type=ValueType.STRING, description="Airport of arrival (IATA code)")
carrier = Entity(name="carrier", value_type=ValueType.STRING, description="Airline (IATA code)")
tailnum = Entity(name="tailnum", value_type=ValueType.STRING, description="Tail number of the aircraft")


def observed_at(view: str) -> Field:
    """The field of `view` that says when its values were observed."""
    return Field(name=f"{view}_observed_at", dtype=UnixTimestamp, tags={"role": "observed_at"})


def source(view: str) -> FileSource:
    """The Parquet source of `view`."""
    return FileSource(name=view, path=path(view), timestamp_field=TIME)


weather_view = FeatureView(
    name="weather",
    entities=[origin],
    schema=[
        Field(name="weather_temp", dtype=Float64, description="Temperature, °F"),
        Field(name="weather_dewp", dtype=Float64, description="Dew point, °F"),
        Field(name="weather_humid", dtype=Float64, description="Relative humidity, %"),
        Field(name="weather_wind_dir", dtype=Float64, description="Direction the wind comes from, degrees"),
        Field(name="weather_wind_speed", dtype=Float64, description="Wind, mph"),
        Field(name="weather_wind_gust", dtype=Float64, description="Gusts, mph; missing without gusts"),
        Field(name="weather_precip", dtype=Float64, description="Precipitation of the hour, inches"),
        Field(name="weather_pressure", dtype=Float64, description="Pressure at sea level, millibars"),
        Field(name="weather_visib", dtype=Float64, description="Visibility, miles"),
        observed_at("weather"),
    ],
    source=source("weather"),
    description="The last hourly observation at the origin that can be read; an observation can be read one hour after it.",
)

plane_view = FeatureView(
    name="plane",
    entities=[tailnum],
    schema=[
        Field(name="plane_year", dtype=Int64, description="Year of manufacture"),
        Field(name="plane_engines", dtype=Int64, description="Number of engines"),
        Field(name="plane_seats", dtype=Int64, description="Number of seats"),
        Field(name="plane_manufacturer", dtype=String),
        Field(name="plane_type", dtype=String),
        Field(name="plane_engine", dtype=String, description="Kind of engine"),
        observed_at("plane"),
    ],
    source=source("plane"),
    description="The register of aircraft.",
)

carrier_view = FeatureView(
    name="carrier",
    entities=[carrier],
    schema=[
        Field(name="carrier_late_rate_3h", dtype=Float64, description="Share of late landings, last 3 hours, shrunk"),
        Field(name="carrier_landed_3h", dtype=Int64, description="Landings of the last 3 hours"),
        Field(name="carrier_late_rate_24h", dtype=Float64, description="Share of late landings, last 24 hours, shrunk"),
        Field(name="carrier_landed_24h", dtype=Int64, description="Landings of the last 24 hours"),
        Field(name="carrier_late_rate_7d", dtype=Float64, description="Share of late landings, last 7 days, shrunk"),
        Field(name="carrier_landed_7d", dtype=Int64, description="Landings of the last 7 days"),
        observed_at("carrier"),
    ],
    source=source("carrier"),
    description="How late the carrier's flights have landed, published every hour.",
)

route_view = FeatureView(
    name="route",
    entities=[origin, dest],
    schema=[
        Field(name="route_late_rate_24h", dtype=Float64, description="Share of late landings, last 24 hours, shrunk"),
        Field(name="route_landed_24h", dtype=Int64, description="Landings of the last 24 hours"),
        Field(name="route_late_rate_7d", dtype=Float64, description="Share of late landings, last 7 days, shrunk"),
        Field(name="route_landed_7d", dtype=Int64, description="Landings of the last 7 days"),
        observed_at("route"),
    ],
    source=source("route"),
    description="How late flights from this origin to this destination have landed, published every hour.",
)

flight_delay = FeatureService(
    name="flight_delay",
    features=[weather_view, plane_view, carrier_view, route_view],
    description="What is looked up for a flight two hours before its scheduled departure.",
)
