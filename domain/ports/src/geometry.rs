//! Boxes and distances on the globe.

/// The mean radius of the earth.
const EARTH_RADIUS_METERS: f64 = 6_371_008.8;

/// More than the rounding errors of a bounding box, in degrees: 0.1 mm.
const SLACK_DEGREES: f64 = 1e-9;

/// Degrees from edge to edge; crosses the antimeridian if west exceeds east.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoBox {
    /// Southern edge.
    pub south: f64,
    /// Western edge.
    pub west: f64,
    /// Northern edge.
    pub north: f64,
    /// Eastern edge.
    pub east: f64,
}

impl GeoBox {
    /// The smallest box around a circle, or a little more.
    pub fn around(latitude: f64, longitude: f64, meters: f64) -> Self {
        let angle = meters / EARTH_RADIUS_METERS;
        let degrees = angle.to_degrees() + SLACK_DEGREES;
        let (south, north) = (latitude - degrees, latitude + degrees);
        if south <= -90.0 || north >= 90.0 {
            return Self { south, west: -180.0, north, east: 180.0 };
        }
        let half = (angle.sin() / latitude.to_radians().cos()).asin().to_degrees() + SLACK_DEGREES;
        let (mut west, mut east) = (longitude - half, longitude + half);
        if east - west >= 360.0 {
            (west, east) = (-180.0, 180.0);
        } else if west < -180.0 {
            west += 360.0;
        } else if east > 180.0 {
            east -= 360.0;
        }
        Self { south, west, north, east }
    }

    /// The ranges of longitude it covers: two if it crosses the antimeridian.
    pub fn longitudes(&self) -> Vec<(f64, f64)> {
        if self.west <= self.east {
            return vec![(self.west, self.east)];
        }
        vec![(self.west, 180.0), (-180.0, self.east)]
    }
}

/// The distance along a great circle, by the haversine formula; points are (latitude, longitude).
pub fn meters_between(from: (f64, f64), to: (f64, f64)) -> f64 {
    let half_latitude = ((to.0 - from.0).to_radians() / 2.0).sin();
    let half_longitude = ((to.1 - from.1).to_radians() / 2.0).sin();
    let cosines = from.0.to_radians().cos() * to.0.to_radians().cos();
    let square = half_latitude * half_latitude + cosines * half_longitude * half_longitude;
    2.0 * EARTH_RADIUS_METERS * square.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::{GeoBox, meters_between};

    #[test]
    fn berlin_and_paris_are_878_km_apart() {
        let meters = meters_between((52.52, 13.405), (48.8566, 2.3522));
        assert!((meters - 877_500.0).abs() < 1_500.0, "{meters}");
    }

    #[test]
    fn a_circle_over_the_antimeridian_has_two_ranges_of_longitude() {
        let around = GeoBox::around(-17.0, 179.9, 50_000.0);
        assert!(around.west > 179.0 && around.east < -179.0);
        assert_eq!(around.longitudes().len(), 2);
    }

    #[test]
    fn a_circle_over_a_pole_covers_every_longitude() {
        assert_eq!(GeoBox::around(89.9, 10.0, 50_000.0).longitudes(), [(-180.0, 180.0)]);
    }
}
